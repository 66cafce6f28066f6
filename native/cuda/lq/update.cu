// The stop rule: adds up the errors of an iterate and keeps the best.
#include "lq/workspace.h"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;
constexpr uint32_t kInfinity = 0x7f800000u;

__global__ void __launch_bounds__(kThreads) update_kernel(const Workspace ws, const LiveSlots live) {
  __shared__ double sums[kThreads][2];
  const int slot = live.slot[blockIdx.x];
  if (ws.states[slot].active == 0) return;
  const int shares = ws.tiles() * kTileWarps;
  const double2* errors = reinterpret_cast<const double2*>(ws.errors) + static_cast<int64_t>(slot) * shares;
  double cost = 0.0, squared = 0.0;
#pragma unroll 4
  for (int share = threadIdx.x; share < shares; share += kThreads) {
    cost += errors[share].x;
    squared += errors[share].y;
  }
  sums[threadIdx.x][0] = cost;
  sums[threadIdx.x][1] = squared;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) {
      sums[threadIdx.x][0] += sums[threadIdx.x + half][0];
      sums[threadIdx.x][1] += sums[threadIdx.x + half][1];
    }
  }
  if (threadIdx.x != 0) return;
  const SlotOption option = ws.options[slot];
  SlotState state = ws.states[slot];
  state.cost = sums[0][0];
  state.squared_error = sums[0][1];
  state.fresh = 0;
  ++state.iterations;
  state.improved = state.best_iteration == 0 || state.cost < state.best_cost;
  if (state.improved) {
    state.best_cost = state.cost;
    state.best_squared_error = state.squared_error;
    state.best_iteration = state.iterations;
    state.since_best = 0;
  } else {
    ++state.since_best;
  }
  if (state.since_best >= option.patience || state.iterations >= option.max_iterations) state.active = 0;
  ws.states[slot] = state;
  ws.minimum[slot] = kInfinity;
}

// After the update: keeps the factors of an iterate that is the best so far.
__global__ void __launch_bounds__(kThreads) keep_best_kernel(const Workspace ws, const LiveSlots live) {
  const int slot = live.slot[blockIdx.x % live.count];
  if (ws.states[slot].improved == 0 || ws.options[slot].keep_best == 0) return;
  const int64_t i = (static_cast<int64_t>(blockIdx.x / live.count) * kThreads + threadIdx.x) * 8;
  const int64_t of_u = ws.u_size(), of_z = ws.z_size();
  if (i < of_u) {
    *reinterpret_cast<uint4*>(ws.best_u + slot * of_u + i) = *reinterpret_cast<const uint4*>(ws.u + slot * of_u + i);
  } else if (i - of_u < of_z) {
    const int64_t j = slot * of_z + i - of_u;
    *reinterpret_cast<uint4*>(ws.best_z + j) = *reinterpret_cast<const uint4*>(ws.z + j);
  }
}

}  // namespace

void launch_update(const Stream& stream, const Workspace& ws, const LiveSlots& live, bool any_kept) {
  update_kernel<<<static_cast<unsigned>(live.count), kThreads, 0, stream.get()>>>(ws, live);
  check_launch("stop rule");
  if (!any_kept || ws.padded_rank == 0) return;
  const int64_t chunks = ceil_div(ws.u_size() + ws.z_size(), kThreads * 8);
  keep_best_kernel<<<static_cast<unsigned>(chunks * live.count), kThreads, 0, stream.get()>>>(ws, live);
  check_launch("keeping the best factors");
}

}  // namespace lq::cuda
