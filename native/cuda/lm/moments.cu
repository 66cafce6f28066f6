#include "lm/moments.h"
#include "lm/rows.cuh"

namespace lq::cuda {
namespace {

__global__ void __launch_bounds__(kRowThreads)
    subtract_kernel(Bf16* a, int64_t a_plane, const Bf16* b, int64_t b_plane, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x;
  if (i < count) store_planes<2>(a + i, a_plane, load_planes<2>(a + i, a_plane) - load_planes<2>(b + i, b_plane));
}

__global__ void __launch_bounds__(kRowThreads) finish_kernel(int64_t n, float scale, bool symmetric, float* m) {
  const int64_t row = blockIdx.x;
  for (int64_t col = threadIdx.x; col < (symmetric ? row + 1 : n); col += kRowThreads) {
    const float x = m[row * n + col] *= scale;
    if (symmetric && col != row) m[col * n + row] = x;
  }
}

}  // namespace

void subtract(const Stream& stream, const Planes& a, const Planes& b, int64_t count) {
  subtract_kernel<<<blocks_for(count, kRowThreads), kRowThreads, 0, stream.get()>>>(bf16(a.data), a.plane, bf16(b.data),
                                                                                    b.plane, count);
  check_launch("difference of streams");
}

void finish_moment(const Stream& stream, int64_t n, float scale, bool symmetric, float* m) {
  finish_kernel<<<static_cast<unsigned>(n), kRowThreads, 0, stream.get()>>>(n, scale, symmetric, m);
  check_launch("second moment");
}

}  // namespace lq::cuda
