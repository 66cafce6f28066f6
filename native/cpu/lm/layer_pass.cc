#include "lm/layer_pass.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "lm/layer.h"
#include "lm/mlp.h"
#include "lm/routed_mlp.h"
#include "lm/run.h"
#include "lm/self_attention.h"
#include "lm/sums.h"
#include "lm/weights.h"

namespace lq::lm {
namespace {

constexpr const float* LayerWeights::*kFields[kParts.size()] = {
    &LayerWeights::q,    &LayerWeights::k,  &LayerWeights::v,    &LayerWeights::o,
    &LayerWeights::gate, &LayerWeights::up, &LayerWeights::down,
};

constexpr std::pair<WeightKind, const float * ExpertWeights::*> kExpertFields[] = {
    {WeightKind::gate, &ExpertWeights::gate},
    {WeightKind::up, &ExpertWeights::up},
    {WeightKind::down, &ExpertWeights::down},
};

bool in_attention(WeightKind kind) {
  return kind == WeightKind::q || kind == WeightKind::k || kind == WeightKind::v || kind == WeightKind::o ||
         kind == WeightKind::qkv;
}

// Scales the lower triangle of m [n, n] and mirrors it.
void finish_symmetric(int64_t n, float scale, float* m) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j) m[j * n + i] = m[i * n + j] *= scale;
  }
}

// The experts of the encoded stream: the dense model's but for what was replaced.
class EncodedExperts final : public ExpertSource {
 public:
  void load(const Batch& batch, const int32_t* experts, int64_t count, ExpertWeights* out) override {
    dense->load(batch, experts, count, out);
    for (int64_t i = 0; i < count; ++i) {
      for (const auto& [kind, field] : kExpertFields) {
        const auto found = replaced.find({kind, experts[i]});
        if (found != replaced.end()) out[i].*field = found->second.data();
      }
    }
  }

  ExpertSource* dense = nullptr;
  std::map<std::pair<WeightKind, int32_t>, Buffer> replaced;
};

class CpuLayerPass final : public LayerPass {
 public:
  CpuLayerPass(const LanguageModelConfig& config, const WeightProvider& provider, std::vector<int32_t> tokens,
               int32_t context, const Memory& memory)
      : config_(config), weights_(config, provider), tokens_(std::move(tokens)), context_(context), memory_(memory) {}

  Status moments(int32_t layer, BlockInput input, int32_t expert, float* second_moment, float* cross,
                 const Control& control) override {
    return guarded([&] {
      Batch batch(config_, control, context_);
      enter(batch, layer);
      if (input == BlockInput::mlp || input == BlockInput::down) {
        finish_attention(batch, control);
      } else if (middle_) {
        fail(StatusCode::invalid_argument, "the block's attention was left behind");
      }
      const int64_t n = input_size(config_, layer, input, expert);
      if (n == 0) fail(StatusCode::invalid_argument, "the block has no such input");
      std::fill_n(second_moment, n * n, 0.0f);
      if (cross != nullptr) std::fill_n(cross, n * n, 0.0f);
      Buffer dense, encoded;
      const int64_t extra = 2 * (n + config_.hidden);
      for_batches(batch, extra, control, [&](int64_t first, const LayerState& state) {
        dense.reserve(batch.rows() * n);
        encoded.reserve(batch.rows() * n);
        float *f = dense.data(), *q = encoded.data();
        int64_t rows = batch.rows();
        if (expert == kNoExpert) {
          input_of(batch, *dense_weights_, state, input, dense_stream(first), f);
          input_of(batch, encoded_weights_, state, input, encoded_stream(first), q);
        } else {
          rows = inputs_of_expert(batch, first, input, expert, f, q);
        }
        for (int64_t i = 0; i < rows * n; ++i) f[i] -= q[i];
        accumulate_moments(batch, {{q, q, n, true, second_moment, rows}, {f, q, n, false, cross, rows}});
      });
      const float scale = 1.0f / static_cast<float>(tokens_.size());
      finish_symmetric(n, scale, second_moment);
      for (int64_t i = 0; cross != nullptr && i < n * n; ++i) cross[i] *= scale;
    });
  }

  Status replace(int32_t layer, WeightKind kind, int32_t expert, const float* values, int64_t count) override {
    return guarded([&] {
      if (layer != layer_) fail(StatusCode::invalid_argument, "blocks are visited in their order");
      const MatrixShape shape = matrix_shape(config_, layer, kind, expert);
      if (std::find(kMatrices.begin(), kMatrices.end(), kind) == kMatrices.end() || shape.rows == 0) {
        fail(StatusCode::invalid_argument, "only a block's matrices can be replaced");
      }
      if (count != shape.rows * shape.cols) fail(StatusCode::invalid_argument, "a matrix of another size");
      if (middle_ && in_attention(kind)) {
        fail(StatusCode::invalid_argument, "the block's attention was left behind");
      }
      if (expert != kNoExpert) {
        for (const auto& [part, field] : kExpertFields) {
          if (stored_in(config_, part, expert) != kind) continue;
          const MatrixShape own = part_shape(config_, layer, part, expert);
          Buffer& buffer = experts_.replaced[{part, expert}];
          buffer.reserve(own.rows * own.cols);
          copy_part(rows_in(config_, part, own.rows, expert), own.cols, values, buffer.data());
        }
        return;
      }
      for (size_t at = 0; at < kParts.size(); ++at) {
        const MatrixShape part = part_shape(config_, layer, kParts[at]);
        if (part.rows == 0 || stored_in(config_, kParts[at]) != kind) continue;
        replaced_[at].reserve(part.rows * part.cols);
        copy_part(rows_in(config_, kParts[at], part.rows), part.cols, values, replaced_[at].data());
        wanted_[at] = true;
        if (dense_weights_) encoded_weights_.*kFields[at] = replaced_[at].data();
      }
    });
  }

  Status advance(int32_t layer, const Control& control) override {
    return guarded([&] {
      Batch batch(config_, control, context_);
      enter(batch, layer);
      finish_attention(batch, control);
      for_batches(batch, 0, control, [&](int64_t first, const LayerState& state) {
        go_on(batch, *dense_weights_, state, dense_stream(first));
        go_on(batch, encoded_weights_, state, encoded_stream(first));
      });
      ++layer_;
      middle_ = false;
      dense_weights_.reset();
      wanted_ = {};
      experts_.replaced.clear();
    });
  }

  void destroy() override { delete this; }

 private:
  float* dense_stream(int64_t first_sequence) { return dense_.data() + first_sequence * context_ * config_.hidden; }
  float* encoded_stream(int64_t first_sequence) { return encoded_.data() + first_sequence * context_ * config_.hidden; }

  // Brings the weights of the block, and at the first one the embeddings.
  void enter(const Batch& batch, int32_t layer) {
    if (layer != layer_ || layer >= config_.layers) {
      fail(StatusCode::invalid_argument, "blocks are visited in their order");
    }
    if (dense_weights_) return;
    if (layer == 0) {
      const auto count = static_cast<int64_t>(tokens_.size());
      dense_.reserve(count * config_.hidden);
      encoded_.reserve(count * config_.hidden);
      weights_.embed(batch, tokens_.data(), count, dense_.data());
      std::copy_n(dense_.data(), count * config_.hidden, encoded_.data());
    }
    dense_weights_ = weights_.layer(batch, layer);
    encoded_weights_ = *dense_weights_;
    for (size_t i = 0; i < kParts.size(); ++i) {
      if (wanted_[i]) encoded_weights_.*kFields[i] = replaced_[i].data();
    }
    experts_.dense = dense_weights_->experts;
    encoded_weights_.experts = &experts_;
  }

  // Both streams from the block's input to its middle. A parallel block has none: its halves read the same.
  void finish_attention(Batch& batch, const Control& control) {
    if (middle_ || config_.attention.parallel) return;
    for_batches(batch, 0, control, [&](int64_t first, const LayerState& state) {
      for (const auto& [weights, x] :
           {std::pair{&*dense_weights_, dense_stream(first)}, std::pair{&encoded_weights_, encoded_stream(first)}}) {
        LayerState s = state;
        s.x = s.middle = x;
        forward_attention(batch, *weights, s, {}, true);
      }
    });
    middle_ = true;
  }

  // A stream from there, or in a parallel block from its input, to the next block's.
  static void go_on(const Batch& batch, const LayerWeights& weights, LayerState state, float* x) {
    state.x = x;
    if (batch.config.attention.parallel) return forward_layer(batch, weights, state, x);
    state.middle = x;
    forward_mlp(batch, weights, state, {}, x);
  }

  // out [rows, n] = an input of the block, from the stream's state x.
  static void input_of(const Batch& batch, const LayerWeights& weights, LayerState state, BlockInput input, float* x,
                       float* out) {
    state.x = x;
    if (!batch.config.attention.parallel) state.middle = x;
    switch (input) {
      case BlockInput::attention:
        return attention_input(batch, weights, x, out);
      case BlockInput::output:
        state.attended = out;
        return forward_attention(batch, weights, state, {}, false);
      case BlockInput::mlp:
        return mlp_input(batch, weights, x, out);
      case BlockInput::down:
        return forward_mlp(batch, weights, state, {nullptr, nullptr, out}, nullptr);
    }
  }

  // The tokens that the encoded model routes to an expert as both streams have them: f, q [count, n]; returns count.
  int64_t inputs_of_expert(const Batch& batch, int64_t first, BlockInput input, int32_t expert, float* f, float* q) {
    streams_.reserve(2 * batch.rows() * config_.hidden);
    float *encoded = streams_.data(), *dense = encoded + batch.rows() * config_.hidden;
    mlp_input(batch, encoded_weights_, encoded_stream(first), encoded);
    mlp_input(batch, *dense_weights_, dense_stream(first), dense);
    const Routing routing = route(batch, encoded_weights_, encoded);
    const auto inputs = [&](const LayerWeights& w, const Routing& weighing, const float* x, float* out) {
      const bool mlp = input == BlockInput::mlp;
      expert_inputs(batch, routing, weighing, w.experts, expert, x, mlp ? out : nullptr, mlp ? nullptr : out);
    };
    inputs(encoded_weights_, routing, encoded, q);
    inputs(*dense_weights_, config_.moe.scale_input ? route(batch, *dense_weights_, dense) : routing, dense, f);
    return routing.count(expert);
  }

  // Calls fn(first sequence, state) for batches of sequences; `extra` floats a row are the caller's.
  void for_batches(Batch& batch, int64_t extra, const Control& control,
                   cpu::FunctionRef<void(int64_t, const LayerState&)> fn) {
    const auto sequences = static_cast<int64_t>(tokens_.size()) / context_;
    lm::for_batches(sequences, context_, state_floats(config_, false) + routed_floats(config_) + extra, memory_.losses,
                    [&](int64_t first, int64_t count) {
                      batch.check();
                      batch.sequences = count;
                      state_.reserve(state_floats(config_, false) * batch.rows());
                      fn(first, place_state(batch, false, state_.data()));
                      if (control.progress != nullptr) {
                        control.progress(control.user, static_cast<double>(first + count),
                                         static_cast<double>(sequences));
                      }
                    });
  }

  const LanguageModelConfig config_;
  Weights weights_;
  const std::vector<int32_t> tokens_;
  const int64_t context_;
  const Memory memory_;
  int32_t layer_ = 0;
  bool middle_ = false;                        // whether the streams are past the block's attention
  Buffer dense_, encoded_;                     // [tokens, hidden]
  std::optional<LayerWeights> dense_weights_;  // of the block, once it was entered
  LayerWeights encoded_weights_{};
  std::array<Buffer, kParts.size()> replaced_;
  std::array<bool, kParts.size()> wanted_{};  // which of them
  EncodedExperts experts_;
  Buffer state_, streams_;
};

}  // namespace

LayerPass* create_layer_pass(const LanguageModelConfig& config, const WeightProvider& provider,
                             std::vector<int32_t> tokens, int32_t context, const Memory& memory) {
  return new CpuLayerPass(config, provider, std::move(tokens), context, memory);
}

}  // namespace lq::lm
