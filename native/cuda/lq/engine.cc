// How options take turns in the slots. What a slot is made of, and how many there are, is in engine_memory.cc.
#include "lq/engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lq/engine_memory.h"
#include "quant/pack.h"

namespace lq::cuda {
namespace {

constexpr uint32_t kInfinity = 0x7f800000u;

bool same_book(const CodeBook& a, const CodeBook& b) {
  return a.bits == b.bits && std::memcmp(a.levels, b.levels, sizeof(float) << a.bits) == 0;
}

bool same_family(const SweepOption& a, const SweepOption& b) {
  return a.config.b0 == b.config.b0 && a.config.b1 == b.config.b1 && a.config.block == b.config.block &&
         a.config.group == b.config.group && same_book(*a.book, *b.book);
}

void copy_on_device(const Stream& stream, __half* target, const __half* source, int64_t count) {
  check(cudaMemcpyAsync(target, source, static_cast<size_t>(count) * sizeof(__half), cudaMemcpyDeviceToDevice,
                        stream.get()),
        "copying on the device");
}

}  // namespace

Engine::Engine(const Stream& stream, const DeviceProblem& matrix, const LqProblem& problem,
               const std::vector<SweepOption>& options, int64_t memory)
    : stream_(stream), matrix_(matrix), problem_(problem), options_(options), asked_for_(options.size()) {
  matrix.describe(&ws_);
  shape_workspace(matrix.rows(), matrix.cols(), options.front().rank, &ws_);
  rank_ = ws_.rank;
  for (size_t i = 0; i < asked_for_; ++i) {
    const auto known = std::find_if(families_.begin(), families_.end(), [&](const Family& family) {
      return same_family(options_[family.lead], options_[i]);
    });
    if (known == families_.end()) {
      families_.push_back({static_cast<int>(i), {}});
    } else if (options_[i].config.b2 == ScaleDtype::FP32) {
      known->members.push_back(known->lead);
      known->lead = static_cast<int>(i);
    } else {
      known->members.push_back(static_cast<int>(i));
    }
  }
  for (Family& family : families_) {
    if (options_[family.lead].config.b2 == ScaleDtype::FP32) continue;
    family.members.push_back(family.lead);
    family.lead = static_cast<int>(options_.size());
    options_.push_back(options_[family.members.back()]);
    options_.back().config.b2 = ScaleDtype::FP32;
  }
  // Wide codes take most iterations and start first, so that the last slots to finish are short ones.
  std::stable_sort(families_.begin(), families_.end(), [&](const Family& a, const Family& b) {
    return options_[a.lead].config.b0 > options_[b.lead].config.b0;
  });

  const int64_t count = matrix.rows() * matrix.cols();
  std::vector<DeviceBook> books;
  std::vector<const CodeBook*> sources;
  for (const SweepOption& option : options_) {
    check_config(option.config, option.book);
    const auto known = std::find_if(sources.begin(), sources.end(),
                                    [&](const CodeBook* source) { return same_book(*source, *option.book); });
    book_of_.push_back(static_cast<int>(known - sources.begin()));
    if (known == sources.end()) {
      sources.push_back(option.book);
      books.push_back(make_device_book(*option.book));
    }
    max_groups_ = std::max(max_groups_, group_count(option.config, count));
  }
  max_blocks_ = most_blocks(options_, count);
  books_ = DeviceBuffer<DeviceBook>(stream, static_cast<int64_t>(books.size()));
  books_.upload(books.data(), books_.size());
  stream.synchronize();

  int device = 0;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetAttribute(&ws_.multiprocessors, cudaDevAttrMultiProcessorCount, device),
        "asking for the device's size");
  if (rank_ > 0) first_ = matrix.factorize(problem, rank_, ws_.padded_rank);
  const auto wanted = static_cast<int64_t>(rank_ > 0 ? families_.size() : asked_for_);
  const int64_t fitting = (memory - problem_bytes(problem)) / slot_bytes(ws_, max_blocks_);
  slots_ = static_cast<int>(std::clamp<int64_t>(fitting, 1, std::min<int64_t>(wanted, kMaxSlots)));
  allocate();
}

void Engine::assign(int slot, int option, Start start, int max_iterations, bool keep_best) {
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
  of_slot.keep_best = keep_best ? 1 : 0;
  host_slot_options_[slot] = of_slot;
  any_kept_ = any_kept_ || keep_best;
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
  scale.exponent = problem_.exponent;
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

void Engine::iterate(const LiveSlots& live, bool low_rank, bool changing) {
  Workspace ws = ws_;
  if (low_rank) {
    for (ws.step = 0; ws.step < ws.steps + (changing ? 1 : 0); ++ws.step) launch_factorize(stream_, ws, live);
  } else {
    ws.rank = ws.padded_rank = 0;
  }
  launch_absmax(stream_, ws, live, any_unaligned_);
  launch_scales(stream_, scale_slots_.get(), live, max_blocks_, max_groups_, any_unaligned_);
  launch_quantize(stream_, ws, live, host_slot_options_.data());
  launch_update(stream_, ws, live, any_kept_);
}

void Engine::read_states(SlotState* target) const {
  check(cudaMemcpyAsync(target, states_.get(), static_cast<size_t>(slots_) * sizeof(SlotState), cudaMemcpyDeviceToHost,
                        stream_.get()),
        "copying from the device");
}

void Engine::quantized_costs(std::vector<SweepCost>* out, const Watch& watch) {
  PinnedBuffer<SlotState> states(slots_);
  const auto total = static_cast<int>(asked_for_);
  for (int first = 0; first < total; first += slots_) {
    watch.poll();
    LiveSlots live{};
    live.count = std::min(slots_, total - first);
    for (int slot = 0; slot < live.count; ++slot) {
      live.slot[slot] = static_cast<uint8_t>(slot);
      assign(slot, first + slot, Start::nothing, 1, false);
    }
    iterate(live, false, false);
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

bool Engine::advance(int slot, std::vector<Run>* runs, size_t* next_family) {
  Run& run = (*runs)[slot];
  if (run.family != nullptr && run.next_member < run.family->members.size()) {
    run.option = run.family->members[run.next_member++];
    assign(slot, run.option, Start::best_factors, problem_.max_iterations, false);
    return true;
  }
  run = Run{};
  if (*next_family == families_.size()) return false;
  run.family = &families_[(*next_family)++];
  run.option = run.family->lead;
  assign(slot, run.option, Start::first_factors, problem_.max_iterations, !run.family->members.empty());
  return true;
}

void Engine::sweep(std::vector<SweepCost>* out, const Watch& watch, const std::function<void(int)>& finished) {
  out->assign(asked_for_, SweepCost{});
  quantized_costs(out, watch);
  if (rank_ == 0) {
    finished(static_cast<int>(asked_for_));
    return;
  }
  std::vector<Run> runs(static_cast<size_t>(slots_));
  size_t next_family = 0;
  for (int slot = 0; slot < slots_; ++slot) advance(slot, &runs, &next_family);
  PinnedBuffer<SlotState> states(slots_);
  int done = 0;
  for (bool changing = true;;) {
    LiveSlots live{};
    for (int slot = 0; slot < slots_; ++slot) {
      if (runs[slot].family != nullptr) live.slot[live.count++] = static_cast<uint8_t>(slot);
    }
    if (live.count == 0) return;
    iterate(live, true, changing);
    read_states(states.get());
    stream_.synchronize();
    watch.poll();
    changing = false;
    for (int i = 0; i < live.count; ++i) {
      const int slot = live.slot[i];
      const SlotState& state = states[slot];
      if (state.active != 0) {
        changing = changing || state.iterations <= kChangingIterations;
        continue;
      }
      Run& run = runs[slot];
      const bool is_lead = run.option == run.family->lead;
      SweepCost cost{};
      cost.cost = state.best_cost;
      cost.squared_error = state.best_squared_error;
      // A member's iterations go on from the lead's best one.
      const int before = is_lead ? 0 : run.lead.best_iteration - 1;
      cost.iterations = state.iterations + before;
      cost.best_iteration = state.best_iteration + before;
      if (is_lead) run.lead = cost;
      if (static_cast<size_t>(run.option) < asked_for_) {
        cost.cost_quantized = (*out)[run.option].cost_quantized;
        (*out)[run.option] = cost;
        finished(++done);
      }
      advance(slot, &runs, &next_family);
    }
  }
}

void Engine::decompose(LqResult* out, const Watch& watch) {
  std::vector<SweepCost> costs(asked_for_);
  quantized_costs(&costs, watch);
  SweepCost& cost = costs.front();
  LiveSlots live{};
  live.count = 1;
  if (out->trace != nullptr) out->trace[0] = std::sqrt(cost.cost);
  if (rank_ > 0) {
    // The host stays one iteration behind: an iteration launched after the stop does nothing on the device.
    PinnedBuffer<SlotState> states(2 * slots_);
    Event arrived[2];
    assign(0, 0, Start::first_factors, problem_.max_iterations, true);
    for (int iteration = 0;; ++iteration) {
      iterate(live, true, iteration <= kChangingIterations);
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
  assign(0, 0, rank_ > 0 ? Start::best_factors : Start::nothing, 1, false);
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
  out->quantized.offset = std::ldexp(out->quantized.offset, problem_.exponent);
  std::vector<double> errors(static_cast<size_t>(ws.tiles()) * kTileWarps * 2);
  errors_.download(errors.data(), static_cast<int64_t>(errors.size()));
  cost.cost = cost.squared_error = 0.0;
  for (size_t share = 0; share < errors.size(); share += 2) {
    cost.cost += errors[share];
    cost.squared_error += errors[share + 1];
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
    // Each column pair shares its singular value evenly.
    double square = 0.0;
    for (int64_t j = 0; j < cols; ++j) {
      const double value = __half2float(z[j * padded + k]) * of_z;
      square += value * value;
    }
    const float share = matrix_.balance() * (square > 0.0 ? static_cast<float>(std::pow(square, 0.25)) : 1.0f);
    for (int64_t i = 0; i < rows; ++i) {
      out.l1[i * wanted + k] = __half2float(u[i * padded + k]) * of_u * matrix_.row_inverse(i) * share;
    }
    for (int64_t j = 0; j < cols; ++j) {
      out.l2[k * cols + j] = __half2float(z[j * padded + k]) * of_z * matrix_.col_inverse(j) / share;
    }
  }
}

}  // namespace lq::cuda
