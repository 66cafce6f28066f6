// The memory plan of the LQ iteration on a device.
//
// What belongs to the matrix is there once, whatever the number of options: its weights as stored and padded to tiles,
// the Fisher information, the scaled weights of the first factorisation (`problem_bytes`). Everything else belongs to a
// slot. For a [rows, cols] matrix padded to multiples of 128, at a rank padded to a multiple of 16, a slot has
//
// clang-format off
//   residual    rows x cols fp16           D_row (W - Q) D_col, rewritten in every iteration: by far the largest
//   u, best_u   rows x rank fp16 each      the factors at work and those of the best iterate
//   z, best_z   cols x rank fp16 each
//   y_sums      splits x rows x rank fp32  scratch of one factorisation: the sketches, in as many parts as keep a device
//   z_sums      splits x cols x rank fp32    busy with one slot, summed in a fixed order,
//   gram        chunks x rank x rank fp32    and the orthonormalisation
//   whitening   rank x rank fp32
//   scales      a float for every block of the option with most blocks
//   errors      two doubles for each of a tile's warps
// clang-format on
//
// W itself and W - L1 L2 are never stored for a slot: each pass recomputes its tile from the weights and the factors.
// Codes are there for the one option whose decomposition is written. Nothing is allocated while slots iterate: all of
// it is taken once, for as many slots as fit into what the lane was granted (`need` says what is worth waiting for),
// and when the device has less than was thought, for half as many until it fits. Sums are cut by the shape alone, so
// neither the number of slots nor what else is live changes a bit of any result.
#include "lq/engine_memory.h"

#include <algorithm>

#include "lq/engine.h"

namespace lq::cuda {
namespace {

constexpr int kRankMultiple = 16;

// Steps of subspace iteration every LQ iteration takes. On a small matrix a step costs next to nothing and the spectrum
// of the residual is coarse; on a large one the factors follow the slowly changing residual well with one.
int factorization_steps(int64_t rows, int64_t cols) {
  const int64_t count = rows * cols;
  if (count <= int64_t{1} << 14) return 24;
  if (count <= int64_t{1} << 20) return 4;
  return count < int64_t{1} << 22 ? 2 : 1;
}

// Parts the inner dimension of a sketch with `outer` rows is cut into, so that one slot alone keeps a device busy. It
// follows from the shape only: the sums are the same whatever else runs and wherever.
int sketch_splits(int64_t outer, int64_t inner) {
  constexpr int64_t kBlocks = 96, kMostSplits = 8;
  return static_cast<int>(
      std::clamp<int64_t>(ceil_div(kBlocks, outer / kTile), 1, std::min(kMostSplits, inner / kTile)));
}

int64_t gram_chunks(const Workspace& ws) { return ceil_div(ws.padded_rows, kGramRows); }

}  // namespace

void shape_workspace(int64_t rows, int64_t cols, int64_t rank, Workspace* ws) {
  ws->padded_rows = static_cast<int32_t>(round_up(rows, kTile));
  ws->padded_cols = static_cast<int32_t>(round_up(cols, kTile));
  ws->rank = static_cast<int32_t>(std::min({rank, rows, cols}));
  ws->padded_rank = static_cast<int32_t>(round_up(ws->rank, kRankMultiple));
  ws->steps = factorization_steps(rows, cols);
  ws->column_splits = sketch_splits(ws->padded_rows, ws->padded_cols);
  ws->row_splits = sketch_splits(ws->padded_cols, ws->padded_rows);
}

int64_t most_blocks(const std::vector<SweepOption>& options, int64_t count) {
  int64_t most = 0;
  for (const SweepOption& option : options) most = std::max(most, block_count(option.config, count));
  return most;
}

int64_t slot_bytes(const Workspace& ws, int64_t max_blocks) {
  const int64_t rank = ws.padded_rank;
  return ws.matrix_size() * 2 + ws.u_size() * 4 * (1 + ws.column_splits) + ws.z_size() * 4 * (1 + ws.row_splits) +
         max_blocks * 4 + rank * rank * 4 * (gram_chunks(ws) + 1) + int64_t{ws.tiles()} * kTileWarps * 16;
}

int64_t Engine::problem_bytes(const LqProblem& problem) {
  Workspace ws{};
  shape_workspace(problem.weight.rows, problem.weight.cols, 0, &ws);
  // The weights as stored and padded, Fisher, and the scaled weights of the first factorisation with its products.
  const int64_t stored = problem.weight.rows * problem.weight.cols * dtype_bits(problem.weight.dtype) / 8;
  return stored + ws.matrix_size() * (4 + (problem.fisher != nullptr ? 4 : 0) + 4 + 1);
}

MemoryNeed Engine::need(const LqProblem& problem, const std::vector<SweepOption>& options) {
  // Fewer slots than this leave a device idle; a lane waits for the others to go rather than run so.
  constexpr int64_t kWorthwhileSlots = 16;
  Workspace ws{};
  shape_workspace(problem.weight.rows, problem.weight.cols, options.front().rank, &ws);
  const int64_t slot = slot_bytes(ws, most_blocks(options, problem.weight.rows * problem.weight.cols));
  const int64_t slots = std::min<int64_t>(static_cast<int64_t>(options.size()), kMaxSlots);
  const int64_t fixed = problem_bytes(problem);
  return {fixed + slot * std::min(slots, kWorthwhileSlots), fixed + slot * slots};
}

void Engine::allocate() {
  const int64_t rank = ws_.padded_rank;
  for (;; slots_ /= 2) {
    try {
      const int64_t slots = slots_;
      residual_ = DeviceBuffer<__half>(stream_, slots * ws_.matrix_size());
      u_ = DeviceBuffer<__half>(stream_, slots * ws_.u_size());
      z_ = DeviceBuffer<__half>(stream_, slots * ws_.z_size());
      best_u_ = DeviceBuffer<__half>(stream_, slots * ws_.u_size());
      best_z_ = DeviceBuffer<__half>(stream_, slots * ws_.z_size());
      y_sums_ = DeviceBuffer<float>(stream_, slots * ws_.column_splits * ws_.u_size());
      z_sums_ = DeviceBuffer<float>(stream_, slots * ws_.row_splits * ws_.z_size());
      gram_ = DeviceBuffer<float>(stream_, slots * gram_chunks(ws_) * rank * rank);
      whitening_ = DeviceBuffer<float>(stream_, slots * rank * rank);
      scales_ = DeviceBuffer<float>(stream_, slots * max_blocks_);
      minimum_ = DeviceBuffer<uint32_t>(stream_, slots);
      errors_ = DeviceBuffer<double>(stream_, slots * ws_.tiles() * kTileWarps * 2);
      slot_options_ = DeviceBuffer<SlotOption>(stream_, slots);
      states_ = DeviceBuffer<SlotState>(stream_, slots);
      scale_slots_ = DeviceBuffer<ScaleSlot>(stream_, slots);
      break;
    } catch (const Failure& failure) {
      if (failure.status.code != StatusCode::device_memory || slots_ == 1) throw;
      release();
    }
  }
  host_slot_options_.assign(static_cast<size_t>(slots_), SlotOption{});
  // The padding of the residual is never written again.
  residual_.clear();
  states_.clear();
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

// What a failed attempt left must be gone before the next, or fewer slots need more memory than many.
void Engine::release() {
  for (DeviceBuffer<__half>* buffer : {&residual_, &u_, &z_, &best_u_, &best_z_}) *buffer = {};
  for (DeviceBuffer<float>* buffer : {&y_sums_, &z_sums_, &gram_, &whitening_, &scales_}) *buffer = {};
  minimum_ = {};
  errors_ = {};
  slot_options_ = {};
  states_ = {};
  scale_slots_ = {};
}

}  // namespace lq::cuda
