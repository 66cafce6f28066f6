#include "lq/engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/pack.h"

namespace lq::cuda {
namespace {

// From this size on a matrix's chains run one option after another; below, every option starts afresh, because there the
// stop rule reacts to chance more than to the type of a scale.
constexpr int64_t kChainSize = int64_t{1} << 22;
// Parts of the inner dimension of a sketch, at most.
constexpr int kMaxSplits = 8;
constexpr int kRankMultiple = 16;

// Steps of subspace iteration an LQ iteration takes. On a small matrix a step costs next to nothing and the spectrum of the
// residual is coarse; on a large one the factors follow the slowly changing residual well with one.
int factorization_steps(int64_t rows, int64_t cols) {
  const int64_t count = rows * cols;
  if (count <= int64_t{1} << 14) return 24;
  if (count <= int64_t{1} << 20) return 4;
  return count < kChainSize ? 2 : 1;
}
constexpr uint32_t kInfinity = 0x7f800000u;

bool same_book(const CodeBook& a, const CodeBook& b) {
  return a.bits == b.bits && std::memcmp(a.levels, b.levels, sizeof(float) << a.bits) == 0;
}

bool differs_in_scale_type_only(const SweepOption& a, const SweepOption& b) {
  return a.config.b0 == b.config.b0 && a.config.b1 == b.config.b1 && a.config.block == b.config.block &&
         a.config.group == b.config.group && same_book(*a.book, *b.book);
}

void copy_on_device(const Stream& stream, __half* target, const __half* source, int64_t count) {
  check(cudaMemcpyAsync(target, source, static_cast<size_t>(count) * sizeof(__half), cudaMemcpyDeviceToDevice, stream.get()),
        "copying on the device");
}

// Device memory an allocation can have: free, or held by the pool and unused.
int64_t available_memory() {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for free memory");
  int device = 0;
  cudaMemPool_t pool = nullptr;
  uint64_t reserved = 0, used = 0;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetDefaultMemPool(&pool, device), "asking for the memory pool");
  check(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &reserved), "asking for pooled memory");
  check(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used), "asking for pooled memory");
  return static_cast<int64_t>(free + (reserved - used));
}

}  // namespace

Engine::Engine(const Stream& stream, const DeviceProblem& matrix, const LqProblem& problem,
               const std::vector<SweepOption>& options)
    : stream_(stream), matrix_(matrix), problem_(problem), options_(options), rank_(options.front().rank),
      factorization_steps_(factorization_steps(matrix.rows(), matrix.cols())) {
  matrix.describe(&ws_);
  const int64_t count = matrix.rows() * matrix.cols();
  std::vector<DeviceBook> books;
  std::vector<const CodeBook*> sources;
  for (const SweepOption& option : options) {
    check_config(option.config, option.book);
    const auto known = std::find_if(sources.begin(), sources.end(),
                                    [&](const CodeBook* source) { return same_book(*source, *option.book); });
    book_of_.push_back(static_cast<int>(known - sources.begin()));
    if (known == sources.end()) {
      sources.push_back(option.book);
      books.push_back(make_device_book(*option.book));
    }
    max_blocks_ = std::max(max_blocks_, block_count(option.config, count));
    max_groups_ = std::max(max_groups_, group_count(option.config, count));
  }
  books_ = DeviceBuffer<DeviceBook>(stream, static_cast<int64_t>(books.size()));
  books_.upload(books.data(), books_.size());
  stream.synchronize();

  int device = 0;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device), "asking for the device's size");
  const int64_t limit = std::min(matrix.rows(), matrix.cols());
  rank_ = static_cast<int>(std::min<int64_t>(rank_, limit));
  ws_.rank = rank_;
  ws_.padded_rank = static_cast<int32_t>(round_up(rank_, kRankMultiple));
  if (rank_ > 0) first_ = matrix.factorize(problem, rank_, ws_.padded_rank);
  allocate(static_cast<int>(std::min<size_t>(chains().size(), kMaxSlots)));
}

std::vector<Engine::Chain> Engine::chains() const {
  std::vector<Chain> out;
  const bool chained = rank_ > 0 && matrix_.rows() * matrix_.cols() >= kChainSize;
  std::vector<bool> taken(options_.size(), false);
  for (size_t i = 0; i < options_.size(); ++i) {
    if (taken[i]) continue;
    Chain chain;
    for (size_t j = i; j < options_.size(); ++j) {
      if (j == i || (chained && !taken[j] && differs_in_scale_type_only(options_[i], options_[j]))) {
        chain.options.push_back(static_cast<int>(j));
        taken[j] = true;
      }
    }
    // The finest scales lead: their iterate is the one the others round.
    std::stable_sort(chain.options.begin(), chain.options.end(), [&](int a, int b) {
      return static_cast<int>(options_[a].config.b2) > static_cast<int>(options_[b].config.b2);
    });
    out.push_back(std::move(chain));
  }
  return out;
}

void Engine::allocate(int wanted_slots) {
  const int64_t rank = ws_.padded_rank;
  const int64_t gram_chunks = ceil_div(ws_.padded_rows, kGramRows);
  const int64_t per_slot = ws_.matrix_size() * 2 + (ws_.u_size() + ws_.z_size()) * (2 + 2 + 4) + max_blocks_ * 4 +
                           rank * rank * 4 * (gram_chunks + 1) + int64_t{ws_.tiles()} * 16;
  slots_ = static_cast<int>(std::clamp<int64_t>(available_memory() * 9 / 10 / per_slot, 1, wanted_slots));
  for (;; slots_ /= 2) {
    try {
      const int64_t slots = slots_;
      y_capacity_ = z_capacity_ = std::max<int64_t>(slots, kMaxSplits);
      residual_ = DeviceBuffer<__half>(stream_, slots * ws_.matrix_size());
      u_ = DeviceBuffer<__half>(stream_, slots * ws_.u_size());
      z_ = DeviceBuffer<__half>(stream_, slots * ws_.z_size());
      best_u_ = DeviceBuffer<__half>(stream_, slots * ws_.u_size());
      best_z_ = DeviceBuffer<__half>(stream_, slots * ws_.z_size());
      y_sums_ = DeviceBuffer<float>(stream_, y_capacity_ * ws_.u_size());
      z_sums_ = DeviceBuffer<float>(stream_, z_capacity_ * ws_.z_size());
      gram_ = DeviceBuffer<float>(stream_, slots * gram_chunks * rank * rank);
      whitening_ = DeviceBuffer<float>(stream_, slots * rank * rank);
      scales_ = DeviceBuffer<float>(stream_, slots * max_blocks_);
      minimum_ = DeviceBuffer<uint32_t>(stream_, slots);
      errors_ = DeviceBuffer<double>(stream_, slots * ws_.tiles() * 2);
      slot_options_ = DeviceBuffer<SlotOption>(stream_, slots);
      states_ = DeviceBuffer<SlotState>(stream_, slots);
      scale_slots_ = DeviceBuffer<ScaleSlot>(stream_, slots);
      break;
    } catch (const Failure& failure) {
      if (failure.status.code != StatusCode::device_memory || slots_ == 1) throw;
    }
  }
  // The padding of the residual is never written again.
  residual_.clear();
  ws_.residual = residual_.get();
  ws_.u = u_.get();
  ws_.z = z_.get();
  ws_.best_u = best_u_.get();
  ws_.best_z = best_z_.get();
  ws_.y_sums = y_sums_.get();
  ws_.z_sums = z_sums_.get();
  ws_.gram = gram_.get();
  ws_.whitening = whitening_.get();
  ws_.scales = scales_.get();
  ws_.max_blocks = max_blocks_;
  ws_.minimum = minimum_.get();
  ws_.errors = errors_.get();
  ws_.books = books_.get();
  ws_.options = slot_options_.get();
  ws_.states = states_.get();
}

void Engine::assign(int slot, int option, Start start, int max_iterations) {
  const QuantConfig& config = options_[option].config;
  const int64_t count = matrix_.rows() * matrix_.cols();
  SlotOption of_slot{};
  of_slot.bits = config.b0;
  of_slot.block = config.block;
  of_slot.aligned =
      (config.block == 16 || config.block == 32 || config.block == 64) && matrix_.cols() % config.block == 0 ? 1 : 0;
  of_slot.book = book_of_[option];
  of_slot.blocks = block_count(config, count);
  of_slot.max_iterations = max_iterations;
  of_slot.patience = std::max(problem_.patience, 1);
  SlotState state{};
  state.active = 1;
  state.fresh = 1;
  ScaleSlot scale{};
  scale.scales = scales_.get() + slot * max_blocks_;
  scale.minimum = minimum_.get() + slot;
  scale.blocks = of_slot.blocks;
  scale.bits = config.b1;
  scale.group = config.group;
  scale.type = config.b2;
  scale.find_minimum = of_slot.aligned == 0 ? 1 : 0;
  scale.active = &(states_.get() + slot)->active;
  any_unaligned_ = any_unaligned_ || of_slot.aligned == 0;

  const auto put = [&](auto* target, const auto& value) {
    check(cudaMemcpyAsync(target + slot, &value, sizeof value, cudaMemcpyHostToDevice, stream_.get()),
          "copying to the device");
  };
  put(slot_options_.get(), of_slot);
  put(states_.get(), state);
  put(scale_slots_.get(), scale);
  put(minimum_.get(), kInfinity);
  if (start == Start::nothing) return;
  const bool first = start == Start::first_factors;
  const int64_t of_u = slot * ws_.u_size(), of_z = slot * ws_.z_size();
  copy_on_device(stream_, u_.get() + of_u, first ? first_.u.get() : best_u_.get() + of_u, ws_.u_size());
  copy_on_device(stream_, z_.get() + of_z, first ? first_.z.get() : best_z_.get() + of_z, ws_.z_size());
}

void Engine::iterate(const LiveSlots& live, bool low_rank) {
  Workspace ws = ws_;
  if (low_rank) {
    const auto splits = [&](int64_t outer, int64_t inner, int64_t capacity) {
      const int64_t blocks = outer / kTile * live.count * ceil_div(ws.padded_rank, 64);
      const int64_t wanted = ceil_div(3 * multiprocessors_, blocks);
      return static_cast<int32_t>(
          std::clamp<int64_t>(wanted, 1, std::min<int64_t>({kMaxSplits, capacity / live.count, inner / kTile})));
    };
    ws.column_splits = splits(ws.padded_rows, ws.padded_cols, y_capacity_);
    ws.row_splits = splits(ws.padded_cols, ws.padded_rows, z_capacity_);
    for (int step = 0; step < factorization_steps_; ++step) launch_factorize(stream_, ws, live);
  } else {
    ws.rank = ws.padded_rank = 0;
    ws.keep_best = 0;
  }
  launch_absmax(stream_, ws, live, any_unaligned_);
  launch_scales(stream_, scale_slots_.get(), live, max_blocks_, max_groups_, any_unaligned_);
  launch_quantize(stream_, ws, live);
  launch_update(stream_, ws, live);
}

void Engine::read_states(SlotState* target) const {
  check(cudaMemcpyAsync(target, states_.get(), static_cast<size_t>(slots_) * sizeof(SlotState), cudaMemcpyDeviceToHost,
                        stream_.get()),
        "copying from the device");
}

void Engine::quantized_costs(std::vector<SweepCost>* out, const Watch& watch) {
  PinnedBuffer<SlotState> states(slots_);
  const auto total = static_cast<int>(options_.size());
  for (int first = 0; first < total; first += slots_) {
    watch.poll();
    LiveSlots live{};
    live.count = std::min(slots_, total - first);
    for (int slot = 0; slot < live.count; ++slot) {
      live.slot[slot] = static_cast<uint8_t>(slot);
      assign(slot, first + slot, Start::nothing, 1);
    }
    iterate(live, false);
    read_states(states.get());
    stream_.synchronize();
    for (int slot = 0; slot < live.count; ++slot) {
      SweepCost& cost = (*out)[first + slot];
      cost.cost = cost.cost_quantized = states[slot].cost;
      cost.squared_error = states[slot].squared_error;
      cost.iterations = cost.best_iteration = 1;
    }
  }
}

void Engine::sweep(std::vector<SweepCost>* out, const Watch& watch, const std::function<void(int)>& finished) {
  out->assign(options_.size(), SweepCost{});
  quantized_costs(out, watch);
  if (rank_ == 0) {
    finished(static_cast<int>(options_.size()));
    return;
  }
  std::vector<Chain> waiting = chains();
  ws_.keep_best = std::any_of(waiting.begin(), waiting.end(), [](const Chain& chain) { return chain.options.size() > 1; });
  // Longest first would need to know how long; wide codes take most iterations.
  std::stable_sort(waiting.begin(), waiting.end(), [&](const Chain& a, const Chain& b) {
    return options_[a.options[0]].config.b0 > options_[b.options[0]].config.b0;
  });
  std::vector<Chain> running(static_cast<size_t>(slots_));
  std::vector<bool> busy(static_cast<size_t>(slots_), false);
  size_t next_chain = 0;
  int done = 0;
  const auto start_chain = [&](int slot) {
    busy[slot] = next_chain < waiting.size();
    if (!busy[slot]) return;
    running[slot] = waiting[next_chain++];
    assign(slot, running[slot].options[0], Start::first_factors, problem_.max_iterations);
  };
  for (int slot = 0; slot < slots_; ++slot) start_chain(slot);

  PinnedBuffer<SlotState> states(slots_);
  for (;;) {
    LiveSlots live{};
    for (int slot = 0; slot < slots_; ++slot) {
      if (busy[slot]) live.slot[live.count++] = static_cast<uint8_t>(slot);
    }
    if (live.count == 0) return;
    iterate(live, true);
    read_states(states.get());
    stream_.synchronize();
    watch.poll();
    for (int i = 0; i < live.count; ++i) {
      const int slot = live.slot[i];
      if (states[slot].active != 0) continue;
      Chain& chain = running[slot];
      SweepCost& cost = (*out)[chain.options[chain.next]];
      cost.cost = states[slot].best_cost;
      cost.squared_error = states[slot].best_squared_error;
      cost.iterations = states[slot].iterations;
      cost.best_iteration = states[slot].best_iteration;
      finished(++done);
      if (++chain.next < chain.options.size()) {
        assign(slot, chain.options[chain.next], Start::best_factors, problem_.max_iterations);
      } else {
        start_chain(slot);
      }
    }
  }
}

void Engine::decompose(LqResult* out, const Watch& watch) {
  std::vector<SweepCost> costs(options_.size());
  quantized_costs(&costs, watch);
  SweepCost& cost = costs.front();
  LiveSlots live{};
  live.count = 1;
  if (out->trace != nullptr) out->trace[0] = std::sqrt(cost.cost);
  if (rank_ > 0) {
    // The host stays one iteration behind: an iteration launched after the stop does nothing on the device.
    PinnedBuffer<SlotState> states(2 * slots_);
    Event arrived[2];
    ws_.keep_best = 1;
    assign(0, 0, Start::first_factors, problem_.max_iterations);
    for (int iteration = 0;; ++iteration) {
      iterate(live, true);
      read_states(states.get() + iteration % 2 * slots_);
      arrived[iteration % 2].record(stream_);
      if (iteration == 0) continue;
      arrived[(iteration - 1) % 2].synchronize();
      watch.poll();
      const SlotState& state = states[(iteration - 1) % 2 * slots_];
      if (out->trace != nullptr) out->trace[state.iterations - 1] = std::sqrt(state.cost);
      watch.progress(state.iterations, problem_.max_iterations);
      if (state.active != 0) continue;
      cost.iterations = state.iterations;
      cost.best_iteration = state.best_iteration;
      break;
    }
  }

  // The best iterate once more, this time for its codes.
  const QuantConfig& config = options_.front().config;
  const int64_t count = matrix_.rows() * matrix_.cols();
  const int64_t blocks = block_count(config, count), groups = group_count(config, count);
  assign(0, 0, rank_ > 0 ? Start::best_factors : Start::nothing, 1);
  DeviceBuffer<uint8_t> codes(stream_, count), scale_codes(stream_, blocks);
  DeviceBuffer<float> group_maxima(stream_, groups);
  ScaleSlot scale{};
  check(cudaMemcpyAsync(&scale, scale_slots_.get(), sizeof scale, cudaMemcpyDeviceToHost, stream_.get()),
        "copying from the device");
  stream_.synchronize();
  scale.codes = scale_codes.get();
  scale.groups = group_maxima.get();
  scale_slots_.upload(&scale, 1);
  Workspace ws = ws_;
  ws.codes = codes.get();
  launch_absmax(stream_, ws, live, any_unaligned_);
  launch_scales(stream_, scale_slots_.get(), live, max_blocks_, max_groups_, any_unaligned_);
  launch_emit(stream_, ws);
  pack_quantized(stream_, codes.get(), scale_codes.get(), group_maxima.get(), minimum_.get(), &out->quantized);
  std::vector<double> errors(static_cast<size_t>(ws.tiles()) * 2);
  errors_.download(errors.data(), static_cast<int64_t>(errors.size()));
  cost.cost = cost.squared_error = 0.0;
  for (size_t tile = 0; tile < errors.size(); tile += 2) {
    cost.cost += errors[tile];
    cost.squared_error += errors[tile + 1];
  }
  download_factors(*out);
  out->cost = cost;
}

void Engine::download_factors(const LqResult& out) const {
  const int64_t wanted = options_.front().rank;
  if (wanted == 0) return;
  const int64_t rows = matrix_.rows(), cols = matrix_.cols(), padded = ws_.padded_rank;
  std::vector<__half> u(static_cast<size_t>(ws_.u_size())), z(static_cast<size_t>(ws_.z_size()));
  best_u_.download(u.data(), ws_.u_size());
  best_z_.download(z.data(), ws_.z_size());
  std::fill_n(out.l1, rows * wanted, 0.0f);
  std::fill_n(out.l2, wanted * cols, 0.0f);
  const float of_u = 1.0f / kFactorScale, of_z = 1.0f / matrix_.z_scale();
  for (int64_t k = 0; k < rank_; ++k) {
    // Each column pair shares its singular value evenly; a power of two keeps the product as it was.
    double square = 0.0;
    for (int64_t j = 0; j < cols; ++j) {
      const double value = __half2float(z[j * padded + k]) * of_z;
      square += value * value;
    }
    const float share = square > 0.0 ? static_cast<float>(std::exp2(std::round(0.25 * std::log2(square)))) : 1.0f;
    for (int64_t i = 0; i < rows; ++i) {
      out.l1[i * wanted + k] = __half2float(u[i * padded + k]) * of_u * matrix_.row_inverse(i) * share;
    }
    for (int64_t j = 0; j < cols; ++j) {
      out.l2[k * cols + j] = __half2float(z[j * padded + k]) * of_z * matrix_.col_inverse(j) / share;
    }
  }
}

}  // namespace lq::cuda
