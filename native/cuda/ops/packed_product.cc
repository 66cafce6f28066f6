#include "ops/packed_product.h"

#include "lm/residual.h"
#include "quant/packed_matrix.h"
#include "runtime/upload.h"

namespace lq::cuda {

void packed_product(const Stream& stream, const QuantizedView& q, const float* l1, const float* l2, int64_t rows,
                    int64_t cols, int32_t rank, const float* x, int64_t tokens, float* out, const Watch& watch) {
  if (rows < 1 || cols < 1) fail(StatusCode::invalid_argument, "the packed tensor has another size");
  if (tokens < 1) fail(StatusCode::invalid_argument, "no tokens");
  watch.poll();
  const Placement placement{rows, cols, rows, round_up(rows, 8), cols, round_up(cols, 8)};
  const PackedMatrix matrix(stream, q, l1, l2, rank, placement, 1);
  const Products products(stream);
  PackedWorkspace workspace;
  const int64_t padded_rows = matrix.padded_rows(), padded_cols = matrix.padded_cols();
  const DeviceBuffer<float> values = upload_padded(stream, x, tokens, cols, tokens, padded_cols);
  const DeviceBuffer<uint16_t> rounded(stream, tokens * padded_cols);
  split(stream, values.get(), values.size(), 1.0f, {rounded.get(), values.size(), 1});
  const DeviceBuffer<float> sums(stream, tokens * padded_rows);
  watch.poll();
  matrix.times_transposed(products, {rounded.get(), padded_cols, 0, 1}, tokens, {sums.get(), padded_rows, false, false},
                          &workspace);
  check(cudaMemcpy2DAsync(out, static_cast<size_t>(rows) * sizeof(float), sums.get(),
                          static_cast<size_t>(padded_rows) * sizeof(float), static_cast<size_t>(rows) * sizeof(float),
                          static_cast<size_t>(tokens), cudaMemcpyDeviceToHost, stream.get()),
        "copying from the device");
  stream.synchronize();
}

}  // namespace lq::cuda
