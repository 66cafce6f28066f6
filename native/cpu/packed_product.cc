#include "packed_product.h"

#include <atomic>
#include <vector>

#include "blas.h"
#include "prepared.h"
#include "quantizer.h"
#include "status.h"
#include "threads.h"

namespace lq::cpu {

Status packed_product(const QuantizedView& q, const float* l1, const float* l2, int64_t rows, int64_t cols,
                      int32_t rank, const float* x, int64_t tokens, float* out, const Control& control) {
  if (rows < 1 || cols < 1 || rows * cols != q.count) {
    return error(StatusCode::invalid_argument, -1, "the packed tensor has another size");
  }
  if (tokens < 1) return error(StatusCode::invalid_argument, -1, "no tokens");
  if (rank < 0 || (rank > 0 && (l1 == nullptr || l2 == nullptr))) {
    return error(StatusCode::invalid_argument, -1, "rank %d without factors", rank);
  }
  const Status status = check_config(q.config, q.book);
  if (failed(status)) return status;
  const BookTable table = make_table(*q.book);
  std::vector<float> scales;
  decode_scales(q, scales);
  std::atomic<bool> stopped = false;
  parallel_for(0, rows, panels_of(rows, cols, 1).panel_rows, [&](int64_t b, int64_t e) {
    if (is_cancelled(control)) {
      stopped = true;
      return;
    }
    thread_local std::vector<uint8_t> scratch;
    thread_local std::vector<float> panel;
    panel.resize(static_cast<size_t>((e - b) * cols));
    decode_weights(q, table, scales, b * cols, e * cols, panel.data(), scratch);
    if (rank > 0) kernels().add_low_rank(panel.data(), l1 + b * rank, l2, panel.data(), e - b, cols, rank, false);
    sgemm(false, true, tokens, e - b, cols, 1.0f, x, cols, panel.data(), cols, 0.0f, out + b, rows);
  });
  return stopped ? cancelled() : ok();
}

}  // namespace lq::cpu
