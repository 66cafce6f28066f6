#include "ops/packed_product.h"

#include "lm/residual.h"
#include "quant/packed_matrix.h"
#include "runtime/upload.h"

namespace lq::cuda {

void decode(const Stream& stream, const EncodedView& w, const float* l1, const float* l2, float* out,
            const Watch& watch) {
  const int32_t rank = w.option.rank;
  if (rank > 0 && (l1 == nullptr || l2 == nullptr)) {
    fail(StatusCode::invalid_argument, "an encoded matrix of rank %d has no factors", rank);
  }
  watch.poll();
  TrellisTables tables;
  const EncodedParts parts(stream, w, &tables);
  const DeviceBuffer<float> weight(stream, w.rows * w.cols);
  parts.decode(weight.get());
  DeviceBuffer<float> left(stream, w.rows * rank), right(stream, rank * w.cols);
  if (rank > 0) {
    left.upload(l1, left.size());
    right.upload(l2, right.size());
    EncodedParts::add_low_rank(stream, left.get(), right.get(), w.rows, w.cols, rank, weight.get());
  }
  weight.download(out, weight.size());
}

void packed_product(const Stream& stream, const EncodedView& w, const float* l1, const float* l2, const float* x,
                    int64_t tokens, float* out, const Watch& watch) {
  const int64_t rows = w.rows, cols = w.cols;
  if (rows < 1 || cols < 1) fail(StatusCode::invalid_argument, "the matrix is empty");
  if (tokens < 1) fail(StatusCode::invalid_argument, "no tokens");
  watch.poll();
  const Placement placement{rows, cols, rows, round_up(rows, 8), cols, round_up(cols, 8)};
  PackedWorkspace workspace;
  const PackedMatrix matrix(stream, w, l1, l2, placement, {}, 1, &workspace);
  const Products products(stream);
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
