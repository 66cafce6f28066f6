// fp32 products with tall, narrow matrices and fp64 inner products, for what must be accurate rather than fast: the
// first factorisation of a matrix and its singular values. Sums are taken in a fixed order.
#pragma once

#include <vector>

#include "runtime/memory.h"

namespace lq::cuda {

// A row-major fp32 matrix in device memory; rows are `stride` elements apart.
struct DeviceMatrix {
  const float* data;
  int64_t rows;
  int64_t cols;
  int64_t stride;
};

// out [a.rows, b.cols] = a b, dense rows.
void multiply(const Stream& stream, const DeviceMatrix& a, const DeviceMatrix& b, float* out);
// out [a.cols, b.cols] = a' b, dense rows.
void multiply_transposed(const Stream& stream, const DeviceMatrix& a, const DeviceMatrix& b, float* out);
// out [a.rows, b.cols] -= a b, dense rows.
void multiply_subtract(const Stream& stream, const DeviceMatrix& a, const DeviceMatrix& b, float* out);
// a' b in fp64, [a.cols, b.cols], on the host.
std::vector<double> inner_products(const Stream& stream, const DeviceMatrix& a, const DeviceMatrix& b);
// Fills data [count] with normal deviates that depend on the seed and the index alone.
void fill_normal(const Stream& stream, float* data, int64_t count, uint64_t seed);
// Replaces the columns of y [rows, cols] by an orthonormal basis of their span (dependent columns become zero).
void orthonormalize(const Stream& stream, float* y, int64_t rows, int cols);
// Uploads host doubles as device floats.
DeviceBuffer<float> upload_as_float(const Stream& stream, const std::vector<double>& values);

// Truncated singular value decomposition by subspace iteration.
struct LowRank {
  DeviceBuffer<float> u;         // [rows, rank], orthonormal columns
  DeviceBuffer<float> z;         // [cols, rank] = a' u: right singular vectors times singular values
  std::vector<double> singular;  // [rank], descending
  int rank = 0;                  // at most min(rows, cols)
};
LowRank truncated_svd(const Stream& stream, const DeviceMatrix& a, int rank, int oversampling, int power_iterations,
                      uint64_t seed);

// The `count` largest singular values of a, descending; count is at most min(rows, cols).
std::vector<double> largest_singular_values(const Stream& stream, const DeviceMatrix& a, int count, uint64_t seed,
                                            const Watch& watch);

}  // namespace lq::cuda
