#include <algorithm>
#include <thread>

#include "lm/mma.cuh"
#include "lm/weights.h"
#include "runtime/budget.h"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kPieceBytes = int64_t{64} << 20;  // of a matrix on its way to the host

__device__ inline int64_t place(int64_t i, int64_t segment, int64_t pitch) { return i / segment * pitch + i % segment; }

// RowRuns::at.
__device__ inline int64_t run_at(const lm::RowRuns& runs, int64_t i) {
  return runs.first + i / runs.size * runs.stride + i % runs.size;
}

// Writes rows of a dense fp32 matrix into padded planes. With one plane, raises `inexact` where bf16 loses something.
__global__ void __launch_bounds__(kThreads) store_kernel(const float* source, const Placement p, const lm::RowRuns from,
                                                         Bf16* out, int64_t plane, int planes, int32_t* inexact) {
  const int64_t count = p.rows * p.cols, stride = p.cols / p.col_segment * p.col_pitch;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    const int64_t at =
        place(i / p.cols, p.row_segment, p.row_pitch) * stride + place(i % p.cols, p.col_segment, p.col_pitch);
    const float x = source[run_at(from, i / p.cols) * p.cols + i % p.cols];
    const Bf16 high = __float2bfloat16_rn(x);
    out[at] = high;
    if (planes == 2) {
      out[plane + at] = __float2bfloat16_rn(x - __bfloat162float(high));
    } else if (__bfloat162float(high) != x) {
      *inexact = 1;
    }
  }
}

// out = source + offset, or offset where there is no source.
__global__ void __launch_bounds__(kThreads)
    store_vector_kernel(const float* source, const Placement p, const lm::RowRuns from, float offset, float* out) {
  for (int64_t i = threadIdx.x; i < p.cols; i += kThreads) {
    out[place(i, p.col_segment, p.col_pitch)] = offset + (source == nullptr ? 0.0f : source[run_at(from, i)]);
  }
}

// Rows of a dense matrix at their padded width.
__global__ void __launch_bounds__(kThreads) widen_kernel(const float* source, int64_t cols, int64_t width, float* out) {
  const int64_t row = blockIdx.x;
  for (int64_t j = threadIdx.x; j < width; j += kThreads)
    out[row * width + j] = j < cols ? source[row * cols + j] : 0.0f;
}

// Rows [first, first + rows) of a padded matrix, dense.
__global__ void __launch_bounds__(kThreads)
    gather_kernel(const float* source, const Placement p, int64_t first, int64_t rows, float* out) {
  const int64_t stride = p.cols / p.col_segment * p.col_pitch;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < rows * p.cols;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    out[i] = source[place(first + i / p.cols, p.row_segment, p.row_pitch) * stride +
                    place(i % p.cols, p.col_segment, p.col_pitch)];
  }
}

unsigned blocks_for(int64_t count) {
  return static_cast<unsigned>(std::min<int64_t>(ceil_div(count, kThreads), 1 << 16));
}

void add_in_threads(const float* source, int64_t count, float* target) {
  constexpr int64_t kLeast = int64_t{1} << 20;
  const int64_t most = std::max<int64_t>(1, std::min<int64_t>(std::thread::hardware_concurrency(), 8));
  const int64_t parts = std::clamp<int64_t>(count / kLeast, 1, most);
  const auto add = [=](int64_t part) {
    for (int64_t i = count * part / parts; i < count * (part + 1) / parts; ++i) target[i] += source[i];
  };
  std::vector<std::thread> others;
  for (int64_t part = 1; part < parts; ++part) others.emplace_back(add, part);
  add(0);
  for (std::thread& other : others) other.join();
}

}  // namespace

Operand StackedMatrix::operand() const {
  if (workspace == nullptr) return parts[0].operand;
  int64_t rows = 0, cols = 0;
  int planes = 1;
  const Stream* stream = nullptr;
  for (const Part& part : parts) {
    rows += part.rows;
    if (!part.packed) continue;
    cols = part.packed->padded_cols();
    planes = part.packed->planes();
    stream = &part.packed->stream();
  }
  const Operand out{grown(*stream, &workspace->expanded, rows * cols * planes), cols, rows * cols, planes};
  uint16_t* to = workspace->expanded.get();
  for (const Part& part : parts) {
    const int64_t count = part.rows * cols;
    for (int p = 0; !part.packed && p < planes; ++p) {
      const size_t bytes = static_cast<size_t>(count) * sizeof(uint16_t);
      uint16_t* at = to + p * out.plane;
      check(p < part.operand.planes ? cudaMemcpyAsync(at, part.operand.data + p * part.operand.plane, bytes,
                                                      cudaMemcpyDeviceToDevice, stream->get())
                                    : cudaMemsetAsync(at, 0, bytes, stream->get()),
            "copying weights");
    }
    if (part.packed) part.packed->expand(to, out.plane, workspace);
    to += count;
  }
  return out;
}

Weights::Weights(const Stream& stream, const Shape& shape, const WeightProvider& provider, int planes,
                 int packed_planes)
    : stream_(stream),
      shape_(shape),
      provider_(provider),
      planes_(planes),
      packed_planes_(packed_planes),
      blocks_(shape.config.layers),
      inexact_(stream, 1) {
  inexact_.clear();
}

const BlockWeights& Weights::block(int32_t layer, const Watch& watch) {
  watch.poll();
  if (blocks_[layer]) return *blocks_[layer];
  visiting_.reset();
  auto loaded = std::make_unique<BlockWeights>(load_block(layer, watch));
  std::unique_ptr<BlockWeights>& place = fits() ? blocks_[layer] : visiting_;
  place = std::move(loaded);
  return *place;
}

const EmbeddingWeights& Weights::embedding(const Watch& watch) {
  if (embedding_) return *embedding_;
  auto loaded = std::make_unique<EmbeddingWeights>();
  table_.parts.clear();
  stack(-1, {WeightKind::embedding}, watch, &table_);
  loaded->table = table_.operand();
  const EmbeddingParts& parts = shape_.config.embedding;
  const auto rows = [&](WeightKind kind, int64_t stored, int64_t used, DeviceBuffer<float>* out) {
    if (stored == 0) return;
    load(-1, kind, stored * shape_.config.hidden, watch);
    *out = DeviceBuffer<float>(stream_, used * shape_.hidden);
    widen_kernel<<<static_cast<unsigned>(used), kThreads, 0, stream_.get()>>>(
        staging_device_.get(), shape_.config.hidden, shape_.hidden, out->get());
    check_launch("storing weights");
  };
  rows(WeightKind::positions, parts.positions, parts.positions, &loaded->positions);
  rows(WeightKind::types, parts.types, 1, &loaded->type);
  vector(-1, {WeightKind::embedding_norm}, watch, &loaded->norm);
  vector(-1, {WeightKind::embedding_norm_bias}, watch, &loaded->norm_bias);
  require_exact();
  embedding_ = std::move(loaded);
  return *embedding_;
}

const TableWeights& Weights::head(const Watch& watch) {
  if (!head_) {
    auto loaded = std::make_unique<TableWeights>();
    vector(-1, {WeightKind::final_norm}, watch, &loaded->norm);
    vector(-1, {WeightKind::final_norm_bias}, watch, &loaded->norm_bias);
    vector(-1, {WeightKind::head_bias}, watch, &loaded->bias);
    if (shape_.config.head.transform) {
      stack(-1, {WeightKind::head_dense}, watch, &loaded->dense);
      vector(-1, {WeightKind::head_dense_bias}, watch, &loaded->dense_bias);
      vector(-1, {WeightKind::head_norm}, watch, &loaded->dense_norm);
      vector(-1, {WeightKind::head_norm_bias}, watch, &loaded->dense_norm_bias);
      require_exact();
    }
    if (shape_.config.tied_embeddings) {
      loaded->table = embedding(watch).table;
    } else {
      stack(-1, {WeightKind::head}, watch, &loaded->own);
      loaded->table = loaded->own.operand();
      require_exact();
    }
    head_ = std::move(loaded);
  }
  return *head_;
}

void Weights::release_staging() {
  staging_.reset();
  staging_size_ = 0;
  staging_device_ = {};
}

bool Weights::fits() const {
  // Activations and accumulators need room beside the weights.
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for the device's memory");
  return available_device_bytes() > static_cast<int64_t>(total) * 3 / 10;
}

void Weights::load(const Place& place, WeightKind kind, int64_t count, const Watch& watch) {
  watch.poll();
  reserve_staging(count);
  const Status status = provider_.load(provider_.user, place.layer, kind, place.expert, staging_->get(), count);
  if (status.code != StatusCode::ok) throw Failure{status};
  staging_device_.upload(staging_->get(), count);
}

void Weights::reserve_staging(int64_t count) {
  stream_.synchronize();  // the device may still be copying the previous tensor
  if (count <= staging_size_) return;
  staging_.reset();
  staging_ = std::make_unique<PinnedBuffer<float>>(count);
  staging_device_ = {};
  staging_device_ = DeviceBuffer<float>(stream_, count);
  staging_size_ = count;
}

void Weights::stack(const Place& place, const std::vector<WeightKind>& kinds, const Watch& watch, StackedMatrix* out) {
  std::vector<std::unique_ptr<PackedMatrix>> packed;
  const bool fused = kinds.size() > 1 && lm::stored_in(shape_.at(place).config, kinds[0]) != kinds[0];
  if (fused) {
    packed.push_back(load_packed(place, kinds, watch));
  } else {
    for (const WeightKind kind : kinds) packed.push_back(load_packed(place, {kind}, watch));
  }
  const bool none = std::none_of(packed.begin(), packed.end(), [](const auto& one) { return one != nullptr; });
  if (none) {
    out->parts.resize(1);
    return load_planes(place, kinds, watch, &out->parts[0]);
  }
  out->parts.resize(packed.size());
  out->workspace = &workspace_;
  int64_t rows = 0, cols = 0;
  for (size_t i = 0; i < packed.size(); ++i) {
    StackedMatrix::Part& part = out->parts[i];
    if (packed[i]) {
      part.rows = packed[i]->padded_rows();
      cols = packed[i]->padded_cols();
      part.packed = std::move(packed[i]);
    } else {
      load_planes(place, {kinds[i]}, watch, &part);
    }
    rows += part.rows;
  }
  // Room to put them together, since nothing is allocated while a batch is under way.
  grown(stream_, &workspace_.expanded, rows * cols * packed_planes_);
}

std::unique_ptr<PackedMatrix> Weights::load_packed(const Place& place, const std::vector<WeightKind>& kinds,
                                                   const Watch& watch) {
  if (packed_planes_ == 0 || provider_.load_packed == nullptr || place.layer < 0) return nullptr;
  const Shape z = shape_.at(place);
  const WeightKind stored = lm::stored_in(z.config, kinds[0]);
  if (stored != kinds[0] && kinds.size() == 1) return nullptr;
  Placement placement = z.placement(kinds[0]);
  std::vector<int32_t> order;
  if (stored != kinds[0]) {
    int64_t rows = 0;
    for (const WeightKind kind : kinds) {
      const Placement p = z.placement(kind);
      const lm::RowRuns runs = lm::rows_in(z.config, kind, p.rows);
      const size_t first = order.size();
      order.resize(first + static_cast<size_t>(p.padded_rows()), -1);
      for (int64_t i = 0; i < p.rows; ++i) {
        order[first + static_cast<size_t>(i / p.row_segment * p.row_pitch + i % p.row_segment)] =
            static_cast<int32_t>(runs.at(i));
      }
      rows += p.rows;
    }
    placement.rows = placement.row_segment = placement.row_pitch = rows;
    // Parts one after the other without padding are the matrix as it is.
    bool as_it_is = static_cast<int64_t>(order.size()) == rows;
    for (size_t i = 0; as_it_is && i < order.size(); ++i) as_it_is = order[i] == static_cast<int32_t>(i);
    if (as_it_is) order.clear();
  }
  watch.poll();
  PackedWeight weight{};
  bool found = false;
  const Status status = provider_.load_packed(provider_.user, place.layer, stored, place.expert, &weight, &found);
  if (status.code != StatusCode::ok) throw Failure{status};
  if (!found) return nullptr;
  auto out = std::make_unique<PackedMatrix>(stream_, weight.encoded, weight.l1, weight.l2, placement, order,
                                            packed_planes_, &workspace_);
  out->reserve(&workspace_);
  return out;
}

void Weights::load_planes(const Place& place, const std::vector<WeightKind>& kinds, const Watch& watch,
                          StackedMatrix::Part* out) {
  const Shape z = shape_.at(place);
  int64_t rows = 0;
  for (const WeightKind kind : kinds) rows += z.placement(kind).padded_rows();
  *out = room_for(rows, z.placement(kinds[0]).padded_cols(), planes_);
  int64_t row = 0;
  WeightKind held{};
  for (const WeightKind kind : kinds) {
    const Placement p = z.placement(kind);
    load_stored(place, kind, watch, row == 0 ? nullptr : &held);
    held = lm::stored_in(z.config, kind);
    store(p, lm::rows_in(z.config, kind, p.rows), row, *out);
    row += p.padded_rows();
  }
}

void Weights::load_stored(const Place& place, WeightKind part, const Watch& watch, const WeightKind* held) {
  const Shape z = shape_.at(place);
  const WeightKind stored = lm::stored_in(z.config, part);
  if (stored != part && held != nullptr && *held == stored) return;
  load(place, stored, z.stored_count(stored), watch);
}

StackedMatrix::Part Weights::room_for(int64_t rows, int64_t stride, int planes) const {
  StackedMatrix::Part out{rows, DeviceBuffer<uint16_t>(stream_, rows * stride * planes), {}, nullptr};
  out.data.clear();
  out.operand = {out.data.get(), stride, rows * stride, planes};
  return out;
}

void Weights::store(const Placement& p, const lm::RowRuns& from, int64_t row, const StackedMatrix::Part& part) const {
  store_kernel<<<blocks_for(p.rows * p.cols), kThreads, 0, stream_.get()>>>(
      staging_device_.get(), p, from, reinterpret_cast<Bf16*>(part.data.get()) + row * part.operand.stride,
      part.operand.plane, part.operand.planes, inexact_.get());
  check_launch("storing weights");
}

BlockWeights Weights::copy(const BlockWeights& block) const {
  BlockWeights out;
  out.traits = block.traits;
  const Shape own = shape_.of(block.traits), of_expert = shape_.of_expert();
  const auto copy_bytes = [&](void* to, const void* from, int64_t bytes) {
    check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, stream_.get()),
          "copying weights");
  };
  const auto vector = [&](const DeviceBuffer<float>& from, DeviceBuffer<float>* to) {
    *to = DeviceBuffer<float>(stream_, from.size());
    if (from.size() > 0) copy_bytes(to->get(), from.get(), from.bytes());
  };
  const auto matrix = [&](const Shape& z, const StackedMatrix& from, std::initializer_list<WeightKind> kinds,
                          StackedMatrix* to) {
    if (from.parts.empty()) return;
    const Operand all = from.operand();
    int64_t row = 0;
    for (const WeightKind kind : kinds) {
      if (z.count(kind) == 0) continue;
      const int64_t rows = z.placement(kind).padded_rows(), bytes = rows * all.stride * 2;
      StackedMatrix::Part part = room_for(rows, all.stride, all.planes);
      for (int p = 0; p < all.planes; ++p) {
        copy_bytes(part.data.get() + p * part.operand.plane, all.data + p * all.plane + row * all.stride, bytes);
      }
      to->parts.push_back(std::move(part));
      row += rows;
    }
  };
  using K = WeightKind;
  matrix(own, block.qkv, {K::q, K::k, K::v}, &out.qkv);
  matrix(own, block.o, {K::o}, &out.o);
  matrix(own, block.gates, {K::gate, K::up}, &out.gates);
  matrix(own, block.down, {K::down}, &out.down);
  matrix(own, block.router, {K::router}, &out.router);
  for (const ExpertWeights& expert : block.experts) {
    ExpertWeights& to = out.experts.emplace_back();
    matrix(of_expert, expert.gates, {K::gate, K::up}, &to.gates);
    matrix(of_expert, expert.down, {K::down}, &to.down);
  }
  using B = BlockWeights;
  for (const auto field : {&B::qkv_bias,
                           &B::o_bias,
                           &B::gates_bias,
                           &B::down_bias,
                           &B::input_norm,
                           &B::input_norm_bias,
                           &B::post_attention_norm,
                           &B::post_attention_norm_bias,
                           &B::attention_output_norm,
                           &B::attention_output_norm_bias,
                           &B::mlp_output_norm,
                           &B::mlp_output_norm_bias,
                           &B::q_norm,
                           &B::q_norm_bias,
                           &B::k_norm,
                           &B::k_norm_bias,
                           &B::sinks,
                           &B::router_bias,
                           &B::router_correction,
                           &B::shared_gate,
                           &B::expert_gates_bias,
                           &B::expert_down_bias}) {
    vector(block.*field, &(out.*field));
  }
  return out;
}

void Weights::replace(WeightKind stored, int32_t expert, const float* values, BlockWeights* block) {
  using K = WeightKind;
  const Shape z = expert == kNoExpert ? shape_.of(block->traits) : shape_.of_expert();
  const auto put = [&](K kind, StackedMatrix* matrix, size_t part) {
    if (z.count(kind) == 0 || lm::stored_in(z.config, kind) != stored) return;
    const Placement p = z.placement(kind);
    matrix->parts[part] = room_for(p.padded_rows(), p.padded_cols(), 2);
    store(p, lm::rows_in(z.config, kind, p.rows), 0, matrix->parts[part]);
  };
  const int64_t count = z.stored_count(stored);
  reserve_staging(count);
  std::copy_n(values, count, staging_->get());
  staging_device_.upload(staging_->get(), count);
  if (expert != kNoExpert) {
    ExpertWeights& own = block->experts[static_cast<size_t>(expert)];
    put(K::gate, &own.gates, 0);
    put(K::up, &own.gates, own.gates.parts.size() - 1);
    return put(K::down, &own.down, 0);
  }
  put(K::q, &block->qkv, 0);
  put(K::k, &block->qkv, 1);
  put(K::v, &block->qkv, 2);
  put(K::o, &block->o, 0);
  put(K::gate, &block->gates, 0);
  put(K::up, &block->gates, block->gates.parts.size() - 1);
  put(K::down, &block->down, 0);
}

void Weights::vector(const Place& place, const std::vector<WeightKind>& kinds, const Watch& watch,
                     DeviceBuffer<float>* out) {
  const Shape z = shape_.at(place);
  int64_t width = 0;
  for (const WeightKind kind : kinds) width += z.count(kind) == 0 ? 0 : z.placement(kind).padded_cols();
  if (width == 0) return;
  *out = DeviceBuffer<float>(stream_, width);
  out->clear();
  store_vectors(place, kinds, watch, out->get());
}

void Weights::store_vectors(const Place& place, const std::vector<WeightKind>& kinds, const Watch& watch, float* out) {
  const Shape z = shape_.at(place);
  const float* begin = out;
  WeightKind held{};
  for (const WeightKind kind : kinds) {
    if (z.count(kind) == 0) continue;
    const Placement p = z.placement(kind);
    const bool weight = z.is_norm_weight(kind), left_out = z.is_left_out(kind);
    const float offset = !weight ? 0.0f : left_out ? 1.0f : z.config.norms.offset;
    if (!left_out) load_stored(place, kind, watch, out == begin ? nullptr : &held);
    held = lm::stored_in(z.config, kind);
    store_vector_kernel<<<1, kThreads, 0, stream_.get()>>>(left_out ? nullptr : staging_device_.get(), p,
                                                           lm::rows_in(z.config, kind, p.cols), offset, out);
    check_launch("storing weights");
    out += p.padded_cols();
  }
}

void Weights::load_experts(int32_t layer, const Watch& watch, BlockWeights* out) {
  using K = WeightKind;
  const Shape z = shape_.of_expert();
  const int32_t count = z.config.moe.experts;
  stack(layer, {K::router}, watch, &out->router);
  vector(layer, {K::router_bias}, watch, &out->router_bias);
  vector(layer, {K::router_correction}, watch, &out->router_correction);
  vector(layer, {K::shared_gate}, watch, &out->shared_gate);
  if (z.config.moe.expert_bias) {
    out->expert_gates_bias = DeviceBuffer<float>(stream_, count * z.gates);
    out->expert_down_bias = DeviceBuffer<float>(stream_, count * z.hidden);
    out->expert_gates_bias.clear();
    out->expert_down_bias.clear();
  }
  for (int32_t e = 0; e < count; ++e) {
    ExpertWeights& expert = out->experts.emplace_back();
    stack({layer, e}, {K::gate, K::up}, watch, &expert.gates);
    stack({layer, e}, {K::down}, watch, &expert.down);
    if (!z.config.moe.expert_bias) continue;
    store_vectors({layer, e}, {K::gate_bias, K::up_bias}, watch, out->expert_gates_bias.get() + e * z.gates);
    store_vectors({layer, e}, {K::down_bias}, watch, out->expert_down_bias.get() + e * z.hidden);
  }
}

void Weights::require_exact() {
  if (planes_ == 2) return;
  int32_t inexact = 0;
  inexact_.download(&inexact, 1);
  if (inexact != 0) throw NeedsTwoPlanes{};
}

BlockWeights Weights::load_block(int32_t layer, const Watch& watch) {
  using K = WeightKind;
  BlockWeights w;
  w.traits = shape_.traits(layer);
  if (!shape_.config.norms.none_first || layer > 0) {
    vector(layer, {K::input_norm}, watch, &w.input_norm);
    vector(layer, {K::input_norm_bias}, watch, &w.input_norm_bias);
  }
  stack(layer, {K::q, K::k, K::v}, watch, &w.qkv);
  vector(layer, {K::q_bias, K::k_bias, K::v_bias}, watch, &w.qkv_bias);
  // Norms without weights are of what turns.
  if (shape_.config.attention.head_norm != HeadNorm::bare || w.traits.rotary != LayerRotary::none) {
    vector(layer, {K::q_norm}, watch, &w.q_norm);
    vector(layer, {K::k_norm}, watch, &w.k_norm);
  }
  vector(layer, {K::q_norm_bias}, watch, &w.q_norm_bias);
  vector(layer, {K::k_norm_bias}, watch, &w.k_norm_bias);
  vector(layer, {K::sinks}, watch, &w.sinks);
  stack(layer, {K::o}, watch, &w.o);
  vector(layer, {K::o_bias}, watch, &w.o_bias);
  vector(layer, {K::attention_output_norm}, watch, &w.attention_output_norm);
  vector(layer, {K::attention_output_norm_bias}, watch, &w.attention_output_norm_bias);
  vector(layer, {K::post_attention_norm}, watch, &w.post_attention_norm);
  vector(layer, {K::post_attention_norm_bias}, watch, &w.post_attention_norm_bias);
  if (w.traits.width > 0) {
    stack(layer, shape_.config.mlp.plain ? std::vector<K>{K::up} : std::vector<K>{K::gate, K::up}, watch, &w.gates);
    vector(layer, {K::gate_bias, K::up_bias}, watch, &w.gates_bias);
    stack(layer, {K::down}, watch, &w.down);
    vector(layer, {K::down_bias}, watch, &w.down_bias);
  }
  if (w.traits.routed) load_experts(layer, watch, &w);
  vector(layer, {K::mlp_output_norm}, watch, &w.mlp_output_norm);
  vector(layer, {K::mlp_output_norm_bias}, watch, &w.mlp_output_norm_bias);
  require_exact();
  return w;
}

void add_to_host(const Stream& stream, const float* device, const Placement& p, const lm::RowRuns& to, float* host) {
  const int64_t rows = std::clamp<int64_t>(kPieceBytes / static_cast<int64_t>(sizeof(float)) / p.cols, 1, p.rows);
  const DeviceBuffer<float> dense(stream, rows * p.cols);
  const PinnedBuffer<float> arrived(rows * p.cols);
  for (int64_t first = 0; first < p.rows; first += rows) {
    const int64_t some = std::min(rows, p.rows - first);
    gather_kernel<<<blocks_for(some * p.cols), kThreads, 0, stream.get()>>>(device, p, first, some, dense.get());
    check_launch("gathering squared gradients");
    dense.download(arrived.get(), some * p.cols);
    for (int64_t row = first, n = 0; row < first + some; row += n) {
      n = std::min((row / to.size + 1) * to.size, first + some) - row;
      add_in_threads(arrived.get() + (row - first) * p.cols, n * p.cols, host + to.at(row) * p.cols);
    }
  }
}

}  // namespace lq::cuda
