#include "lm/model.h"

#include <cmath>

#include "lm/residual.h"
#include "lm/rotary.h"

namespace lq::cuda {
namespace {

constexpr int64_t kMostRows = 8192;  // tokens a batch: beyond, products are as fast as they get
// Activations of models up to this size have two planes: they are quick anyway, and then as exact as in fp32.
constexpr int64_t kSmallModel = int64_t{1} << 30;
constexpr double kUsableMemory = 0.92;  // of what is free; the rest is fragmentation and cuBLAS's own

// Returns when they are there.
void upload_ids(const Stream& stream, const std::vector<int32_t>& ids, int32_t* to) {
  check(cudaMemcpyAsync(to, ids.data(), ids.size() * sizeof(int32_t), cudaMemcpyHostToDevice, stream.get()),
        "copying tokens to the device");
  stream.synchronize();
}

}  // namespace

BatchMemory place_batch(const BatchContext& b, Keep keep, Arena* arena) {
  const int32_t layers = b.shape.config.layers;
  const int64_t width = b.rows() * b.shape.hidden;
  const bool backward = keep != Keep::nothing;
  BatchMemory m{};
  m.tokens = static_cast<int32_t*>(arena->bytes(b.rows() * static_cast<int64_t>(sizeof(int32_t))));
  m.targets = static_cast<int32_t*>(arena->bytes(b.rows() * static_cast<int64_t>(sizeof(int32_t))));
  m.positions = static_cast<int32_t*>(arena->bytes(b.rows() * static_cast<int64_t>(sizeof(int32_t))));
  for (int32_t i = 0; i < (keep == Keep::everything ? layers : 1); ++i) {
    m.blocks.push_back(place_block(b, backward, arena));
  }
  const ExpertState experts = place_experts(b, backward, arena);
  for (BlockState& block : m.blocks) block.experts = experts;
  for (int32_t i = 0; keep == Keep::inputs && i < layers; ++i) m.inputs.push_back(arena->floats(width));
  m.head = place_head(b, backward, arena);
  if (backward) {
    m.last = arena->floats(width);
    m.backward = place_backward(b, arena);
  }
  return m;
}

BlockState BatchMemory::state(Keep keep, int32_t layer) const {
  if (keep == Keep::everything) return blocks[static_cast<size_t>(layer)];
  BlockState state = blocks[0];
  if (keep == Keep::inputs) state.x = inputs[static_cast<size_t>(layer)];
  return state;
}

RotaryOnDevice::RotaryOnDevice(const Stream& stream, const LanguageModelConfig& config, int64_t context) {
  const auto bring = [&](const lm::RotaryTable& table) {
    const auto place = [&](const std::vector<float>& values) {
      buffers_.emplace_back(stream, static_cast<int64_t>(values.size()));
      if (!values.empty()) buffers_.back().upload(values.data(), buffers_.back().size());
      return buffers_.back().get();
    };
    const float* cosine = place(table.cosine);
    const Rotary out{cosine, place(table.sine), table.half};
    stream.synchronize();  // the table goes before a copy would
    return out;
  };
  standard_ = bring(lm::rotary_table(config, context));
  local_ = bring(lm::local_rotary_table(config, context));
  if (config.attention.alibi == nullptr) return;
  slopes_ = DeviceBuffer<float>(stream, config.heads);
  slopes_.upload(config.attention.alibi, config.heads);
  stream.synchronize();
}

Predictions::Predictions(const LanguageModelConfig& config, const int32_t* tokens, int64_t sequences, int64_t context)
    : targets(static_cast<size_t>(sequences * context), -1), each(lq::predictions(config, tokens, sequences, context)) {
  if (each == 0) {
    fail(StatusCode::invalid_argument, "sequences do not all have as many masked tokens, one at least");
  }
  for (int64_t row = 0; row < sequences * context; ++row) {
    if (config.masked) {
      if (tokens[row] < 0) targets[static_cast<size_t>(row)] = ~tokens[row];
    } else if ((row + 1) % context != 0) {
      targets[static_cast<size_t>(row)] = tokens[row + 1];
    }
  }
}

Model::Model(const LanguageModelConfig& config, const WeightProvider& provider)
    : shape(config),
      provider_(provider),
      products_(stream_),
      queues_(config.moe.experts > 0 ? std::make_unique<ExpertQueues>(config.moe.experts) : nullptr) {
  check(cudaGetDevice(&device_), "asking for the device");
}

void Model::check_tokens(const int32_t* tokens, int64_t count, int32_t context, int32_t least) const {
  if (context < least) fail(StatusCode::invalid_argument, "the context is too short");
  for (int64_t i = 0; i < count; ++i) {
    const int32_t token = shape.config.masked && tokens[i] < 0 ? ~tokens[i] : tokens[i];
    if (token >= 0 && token < shape.config.vocab) continue;
    throw Failure{make_status(StatusCode::invalid_argument, i, "token %d at %lld is outside the vocabulary of %d",
                              tokens[i], static_cast<long long>(i), shape.config.vocab)};
  }
}

void Model::use_two_planes() {
  weights_.reset();
  weight_planes_ = 2;
}

void Model::prepare(const Watch& watch) {
  if (weights_) return;
  auto loading = std::make_unique<Weights>(stream_, shape, provider_, weight_planes_, activation_planes());
  loading->embedding(watch);
  loading->head(watch);
  for (int32_t layer = 0; layer < shape.config.layers; ++layer) {
    loading->block(layer, watch);
    if (!loading->kept(layer)) break;
  }
  if (loading->kept(shape.config.layers - 1)) loading->release_staging();
  stream_.synchronize();
  weights_ = std::move(loading);
}

std::unique_ptr<Weights> Model::open_weights() const {
  return std::make_unique<Weights>(stream_, shape, provider_, weight_planes_, 0);
}

int Model::activation_planes() const { return weight_planes_ == 2 || shape.block_parameters() <= kSmallModel ? 2 : 1; }

BatchContext Model::context_of(const RotaryOnDevice& rotary, int64_t sequences, int64_t context) const {
  return {stream_,           products_,      shape,           activation_planes(),   sequences,    context,
          rotary.standard(), rotary.local(), rotary.slopes(), weights_->workspace(), queues_.get()};
}

int64_t Model::batch_bytes(const RotaryOnDevice& rotary, int64_t sequences, int64_t context, Keep keep) const {
  Arena counting(nullptr);
  place_batch(context_of(rotary, sequences, context), keep, &counting);
  return counting.used();
}

int64_t Model::usable_bytes() {
  return static_cast<int64_t>(kUsableMemory * static_cast<double>(available_device_bytes()));
}

int64_t Model::full_batch(int64_t sequences, int64_t context) {
  return std::clamp<int64_t>(kMostRows / context, 1, sequences);
}

void Model::for_batches(const RotaryOnDevice& rotary, int64_t sequences, int64_t context, Keep keep,
                        const std::function<void(const BatchContext&, const BatchMemory&, int64_t)>& work) {
  int64_t most = full_batch(sequences, context);
  while (most > 1 && batch_bytes(rotary, most, context, keep) > usable_bytes()) most = (most + 1) / 2;
  const int64_t batches = ceil_div(sequences, most);
  const DeviceBuffer<uint8_t> memory(stream_, batch_bytes(rotary, ceil_div(sequences, batches), context, keep));
  for (int64_t i = 0; i < batches; ++i) {
    const int64_t first = sequences * i / batches, end = sequences * (i + 1) / batches;
    const BatchContext batch = context_of(rotary, end - first, context);
    Arena arena(memory.get());
    work(batch, place_batch(batch, keep, &arena), first);
  }
  stream_.synchronize();
}

const float* Model::forward(const BatchContext& b, const BatchMemory& m, Keep keep, const int32_t* tokens,
                            const Watch& watch, Meter* meter, const Visit& visit) {
  // Logits are asked for where nothing is predicted, too.
  if (lq::predictions(shape.config, tokens, b.sequences, b.context) > 0) upload_targets(b, m, tokens);
  embed_tokens(weights_->embedding(watch), tokens, b.rows(), b.context, m.tokens, m.positions, m.state(keep, 0).x);
  const int32_t layers = shape.config.layers;
  for (int32_t layer = 0; layer < layers; ++layer) {
    float* out = keep == Keep::nothing ? m.blocks[0].x : layer + 1 < layers ? m.state(keep, layer + 1).x : m.last;
    forward_block(b, weights_->block(layer, watch), m.state(keep, layer), out);
    if (visit) visit(layer, m.state(keep, layer));
    meter->step();
  }
  return keep == Keep::nothing ? m.blocks[0].x : m.last;
}

void Model::upload_targets(const BatchContext& b, const BatchMemory& m, const int32_t* tokens) const {
  const Predictions predictions(shape.config, tokens, b.sequences, b.context);
  upload_ids(stream_, predictions.targets, m.targets);
}

void Model::embed_tokens(const EmbeddingWeights& w, const int32_t* tokens, int64_t rows, int64_t context, int32_t* ids,
                         int32_t* positions, float* x) const {
  const LanguageModelConfig& c = shape.config;
  const EmbeddingParts& parts = c.embedding;
  std::vector<int32_t> words(tokens, tokens + rows), places;
  for (int32_t& word : words) word = word < 0 ? c.mask_token : word;
  upload_ids(stream_, words, ids);
  embed(stream_, w.table, ids, rows, shape.hidden, shape.embedding_scale(), x);
  if (parts.positions > 0) {
    int32_t next = 0;
    for (int64_t i = 0; i < rows; ++i) {
      if (i % context == 0) next = parts.position_offset;
      const bool padding = parts.padding >= 0 && tokens[i] == parts.padding;
      places.push_back(padding ? parts.position_offset - 1 : next++);
      if (places.back() >= parts.positions) {
        fail(StatusCode::invalid_argument, "the context is longer than the model's positions");
      }
    }
    upload_ids(stream_, places, positions);
    add_rows(stream_, w.positions.get(), positions, rows, shape.hidden, x);
  }
  if (parts.types > 0) add_bias(stream_, w.type.get(), rows, shape.hidden, x);
  if (parts.norm) add_normalized(stream_, norm_of(shape, w.norm, w.norm_bias), x, rows, 1.0f, nullptr, x);
}

void Model::collect_losses(const BatchContext& b, const Predictions& predictions, const CrossEntropy& entropy,
                           double* losses) const {
  const auto rows = static_cast<size_t>(b.rows());
  std::vector<float> top(rows), sum(rows), target(rows);
  const auto fetch = [&](std::vector<float>* to, const float* from) {
    check(cudaMemcpyAsync(to->data(), from, rows * sizeof(float), cudaMemcpyDeviceToHost, stream_.get()),
          "copying losses from the device");
  };
  fetch(&top, entropy.top);
  fetch(&sum, entropy.sum);
  fetch(&target, entropy.target);
  stream_.synchronize();
  for (int64_t s = 0; s < b.sequences; ++s) {
    double total = 0;
    for (int64_t row = s * b.context; row < (s + 1) * b.context; ++row) {
      if (predictions.targets[static_cast<size_t>(row)] < 0) continue;
      total += static_cast<double>(top[row]) + std::log(static_cast<double>(sum[row])) - target[row];
    }
    losses[s] = total / static_cast<double>(predictions.each);
  }
}

}  // namespace lq::cuda
