#include "lm/layer_pass.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "lm/hidden_states.h"
#include "lm/moments.h"
#include "lm/residual.h"
#include "lm/routed_mlp.h"
#include "lm/sums.h"

namespace lq::cuda {
namespace {

constexpr int kPlanes = 2;

bool in_attention(WeightKind kind) {
  return kind == WeightKind::qkv || kind == WeightKind::q || kind == WeightKind::k || kind == WeightKind::v ||
         kind == WeightKind::o;
}

// The first `count` elements of every plane.
void copy_planes(const Stream& stream, const Planes& from, int64_t count, const Planes& to) {
  for (int p = 0; p < kPlanes; ++p) {
    check(cudaMemcpyAsync(to.data + p * to.plane, from.data + p * from.plane,
                          static_cast<size_t>(count) * sizeof(uint16_t), cudaMemcpyDeviceToDevice, stream.get()),
          "copying on the device");
  }
}

class CudaLayerPass final : public LayerPass {
 public:
  CudaLayerPass(const LanguageModelConfig& config, const WeightProvider& provider, std::vector<int32_t> tokens,
                int32_t context)
      : model_(config, provider), tokens_(std::move(tokens)), context_(context) {}

  Status moments(int32_t layer, BlockInput input, int32_t expert, float* second_moment, float* cross,
                 const Control& control) override {
    return model_.run(control, [&](const Watch& watch) {
      enter(layer, watch);
      if (input == BlockInput::mlp || input == BlockInput::down) {
        finish_attention(watch);
      } else if (middle_) {
        fail(StatusCode::invalid_argument, "the block's attention was left behind");
      }
      const bool of_expert = expert != kNoExpert;
      if (of_expert && (!model_.shape.traits(layer).routed || expert < 0 || expert >= model_.shape.config.moe.experts ||
                        input == BlockInput::attention || input == BlockInput::output)) {
        fail(StatusCode::invalid_argument, "the block has no such input of an expert");
      }
      const Placement p = model_.shape.at({layer, expert}).moment_placement(input);
      const int64_t n = p.padded_cols();
      DeviceBuffer<float> second(model_.stream(), n * n), crossed(model_.stream(), cross == nullptr ? 0 : n * n);
      second.clear();
      crossed.clear();
      for_batches(n, watch, [&](const BatchContext& b, const BlockState& state, const Planes& kept, int64_t first) {
        if (of_expert) {
          return add_expert_moments(b, state, kept, {input, expert, n, first}, second.get(),
                                    cross == nullptr ? nullptr : crossed.get());
        }
        const int64_t count = b.rows() * n;
        if (cross != nullptr) {
          const Planes f = input_of(b, *dense_weights_, state, input, dense_, first);
          copy_planes(b.stream, f, count, kept);
        }
        const Planes q = input_of(b, encoded_weights_, state, input, encoded_, first);
        b.products.add_moments(q.operand(n), q.operand(n), n, n, b.rows(), second.get());
        if (cross == nullptr) return;
        subtract(b.stream, kept, q, count);
        b.products.add_moments(kept.operand(n), q.operand(n), n, n, b.rows(), crossed.get());
      });
      const float scale = 1.0f / static_cast<float>(tokens_.size());
      const auto collect = [&](float* sum, bool symmetric, float* out) {
        finish_moment(model_.stream(), n, scale, symmetric, sum);
        std::fill_n(out, p.rows * p.cols, 0.0f);
        add_to_host(model_.stream(), sum, p, {0, p.rows, p.rows, 1}, out);
      };
      collect(second.get(), true, second_moment);
      if (cross != nullptr) collect(crossed.get(), false, cross);
    });
  }

  Status replace(int32_t layer, WeightKind kind, int32_t expert, const float* values, int64_t count) override {
    return model_.run({}, [&](const Watch& watch) {
      const bool fused = kind == WeightKind::qkv || kind == WeightKind::gate_up;
      const bool routed = layer >= 0 && layer < model_.shape.config.layers && model_.shape.traits(layer).routed;
      const bool matrix = (fused || std::find(kMatrices.begin(), kMatrices.end(), kind) != kMatrices.end()) &&
                          (expert == kNoExpert ||
                           (routed && !in_attention(kind) && expert >= 0 && expert < model_.shape.config.moe.experts));
      const int64_t stored = matrix ? model_.shape.at({layer, expert}).stored_count(kind) : 0;
      if (stored == 0) fail(StatusCode::invalid_argument, "only a block's matrices can be replaced");
      if (count != stored) fail(StatusCode::invalid_argument, "a matrix of another size");
      if (layer != layer_) fail(StatusCode::invalid_argument, "blocks are visited in their order");
      if (middle_ && in_attention(kind)) {
        fail(StatusCode::invalid_argument, "the block's attention was left behind");
      }
      enter(layer, watch);
      weights_->replace(kind, expert, values, &encoded_weights_);
    });
  }

  Status advance(int32_t layer, const Control& control) override {
    return model_.run(control, [&](const Watch& watch) {
      enter(layer, watch);
      finish_attention(watch);
      for_both(watch, [](const BatchContext& b, const BlockWeights& w, const BlockState& s) {
        if (b.shape.config.attention.parallel) forward_attention(b, w, s, true);
        forward_mlp(b, w, s, s.x);
      });
      ++layer_;
      middle_ = false;
      dense_weights_ = nullptr;
      encoded_weights_ = {};
      weights_.reset();
    });
  }

  void destroy() override {
    // Errors of a device that is gone have nobody to go to.
    cudaSetDevice(model_.device());
    delete this;
  }

 private:
  int64_t rows() const { return static_cast<int64_t>(tokens_.size()); }

  // Brings the weights of the block, and at the first one the embeddings.
  void enter(int32_t layer, const Watch& watch) {
    if (layer != layer_ || layer >= model_.shape.config.layers) {
      fail(StatusCode::invalid_argument, "blocks are visited in their order");
    }
    if (dense_weights_ != nullptr) return;
    weights_ = model_.open_weights();
    if (layer == 0) {
      embed_all(watch);
      weights_ = model_.open_weights();  // without the table
    }
    const BlockWeights& loaded = weights_->block(layer, watch);
    encoded_weights_ = weights_->copy(loaded);
    dense_weights_ = &loaded;
  }

  void embed_all(const Watch& watch) {
    const Stream& stream = model_.stream();
    const int64_t hidden = model_.shape.hidden;
    // Whole sequences, whose positions start anew.
    const int64_t piece = std::min(rows(), std::max<int64_t>((1 << 14) / context_, 1) * context_);
    const bool on_device = HiddenStates::fit(2 * rows(), hidden, Model::usable_bytes());
    dense_ = HiddenStates(stream, rows(), hidden, on_device);
    encoded_ = HiddenStates(stream, rows(), hidden, on_device);
    const EmbeddingWeights& weights = weights_->embedding(watch);
    const DeviceBuffer<int32_t> ids(stream, piece), positions(stream, piece);
    const DeviceBuffer<float> room(stream, on_device ? 0 : piece * hidden);
    for (int64_t first = 0; first < rows(); first += piece) {
      const int64_t count = std::min(piece, rows() - first);
      for (HiddenStates* states : {&dense_, &encoded_}) {
        float* x = on_device ? states->bring(first, count, nullptr) : room.get();
        model_.embed_tokens(weights, tokens_.data() + first, count, context_, ids.get(), positions.get(), x);
        states->keep(first, count, x);
      }
    }
    stream.synchronize();
  }

  // Both streams from the block's input to its middle. A parallel block has none: its halves read the same.
  void finish_attention(const Watch& watch) {
    if (middle_ || model_.shape.config.attention.parallel) return;
    for_both(watch, [](const BatchContext& b, const BlockWeights& w, const BlockState& s) {
      forward_attention(b, w, s, true);
    });
    middle_ = true;
  }

  // Calls work(batch, weights, state) for batches of either stream; what it leaves in state.x is kept.
  template <typename Work>
  void for_both(const Watch& watch, const Work& work) {
    for_batches(0, watch, [&](const BatchContext& b, const BlockState& state, const Planes&, int64_t first) {
      for (const auto& [weights, states] :
           {std::pair{dense_weights_, &dense_},
            std::pair{static_cast<const BlockWeights*>(&encoded_weights_), &encoded_}}) {
        BlockState s = state;
        s.x = states->bring(first, b.rows(), state.x);
        if (!b.shape.config.attention.parallel) s.middle = s.x;
        work(b, *weights, s);
        states->keep(first, b.rows(), s.x);
      }
    });
  }

  // An input of the block, in the batch's memory until the next call.
  static Planes input_of(const BatchContext& b, const BlockWeights& weights, const BlockState& state, BlockInput input,
                         const HiddenStates& states, int64_t first) {
    BlockState s = state;
    s.x = states.bring(first, b.rows(), state.x);
    if (!b.shape.config.attention.parallel) s.middle = s.x;
    switch (input) {
      case BlockInput::attention:
        attention_input(b, weights, s);
        return s.normed;
      case BlockInput::output:
        forward_attention(b, weights, s, false);
        return s.attended;
      case BlockInput::mlp:
        mlp_input(b, weights, s);
        return s.middle_normed;
      case BlockInput::down:
        forward_mlp(b, weights, s, nullptr);
        return s.act;
    }
    fail(StatusCode::internal, "an unknown input of a block");
  }

  struct ExpertInput {
    BlockInput input;
    int32_t expert;
    int64_t width, first;
  };
  // Adds what an expert's input gives at the tokens that the encoded stream routes to it.
  void add_expert_moments(const BatchContext& b, const BlockState& state, const Planes& kept, const ExpertInput& of,
                          float* second, float* crossed) const {
    const bool down = of.input == BlockInput::down;
    const int64_t n = of.width;
    const Planes normed = input_of(b, encoded_weights_, state, BlockInput::mlp, encoded_, of.first);
    route_rows(b, encoded_weights_, normed, state.experts);
    await_routes(b, state.experts);
    const int64_t count = (*state.experts.begin)[of.expert + 1] - (*state.experts.begin)[of.expert];
    if (count == 0) return;
    const Planes q = expert_input(b, encoded_weights_, normed, state.experts, of.expert, down);
    b.products.add_moments(q.operand(n), q.operand(n), n, n, count, second);
    if (crossed == nullptr) return;
    copy_planes(b.stream, q, count * n, kept);
    const Planes of_dense = input_of(b, *dense_weights_, state, BlockInput::mlp, dense_, of.first);
    if (b.shape.config.moe.scale_input) weigh_rows(b, *dense_weights_, of_dense, state.experts, of.expert);
    const Planes f = expert_input(b, *dense_weights_, of_dense, state.experts, of.expert, down);
    subtract(b.stream, f, kept, count * n);
    b.products.add_moments(f.operand(n), kept.operand(n), n, n, count, crossed);
  }

  // Calls work(batch, state, kept, first row) for batches of sequences; `kept` is room for `width` elements a row in
  // planes.
  template <typename Work>
  void for_batches(int64_t width, const Watch& watch, const Work& work) {
    const int64_t sequences = rows() / context_;
    const RotaryOnDevice rotary(model_.stream(), model_.shape.config, context_);
    const auto context_of = [&](int64_t count) {
      return BatchContext{model_.stream(), model_.products(), model_.shape,   kPlanes,         count,
                          context_,        rotary.standard(), rotary.local(), rotary.slopes(), weights_->workspace(),
                          model_.queues()};
    };
    const auto bytes_of = [&](int64_t count) {
      Arena counting(nullptr);
      const BatchContext b = context_of(count);
      place_block(b, false, &counting);
      place_experts(b, false, &counting);
      counting.planes(b.rows() * width, kPlanes);
      return counting.used();
    };
    int64_t most = Model::full_batch(sequences, context_);
    while (most > 1 && bytes_of(most) > Model::usable_bytes()) most = (most + 1) / 2;
    const int64_t batches = ceil_div(sequences, most);
    const DeviceBuffer<uint8_t> memory(model_.stream(), bytes_of(ceil_div(sequences, batches)));
    Event done[2];
    for (int64_t i = 0; i < batches; ++i) {
      const int64_t first = sequences * i / batches, end = sequences * (i + 1) / batches;
      const BatchContext b = context_of(end - first);
      Arena arena(memory.get());
      BlockState state = place_block(b, false, &arena);
      state.experts = place_experts(b, false, &arena);
      work(b, state, arena.planes(b.rows() * width, kPlanes), first * context_);
      // The host runs one batch ahead at most.
      done[i % 2].record(model_.stream());
      if (i > 0) done[(i - 1) % 2].synchronize();
      watch.progress(static_cast<double>(end), static_cast<double>(sequences));
      watch.poll();
    }
    model_.stream().synchronize();
  }

  Model model_;
  const std::vector<int32_t> tokens_;
  const int64_t context_;
  int32_t layer_ = 0;
  bool middle_ = false;  // whether the streams are past the block's attention
  HiddenStates dense_, encoded_;
  std::unique_ptr<Weights> weights_;  // of the block, once it was entered
  const BlockWeights* dense_weights_ = nullptr;
  BlockWeights encoded_weights_{};
};

}  // namespace

LayerPass* create_layer_pass(const LanguageModelConfig& config, const WeightProvider& provider,
                             std::vector<int32_t> tokens, int32_t context) {
  return new CudaLayerPass(config, provider, std::move(tokens), context);
}

}  // namespace lq::cuda
