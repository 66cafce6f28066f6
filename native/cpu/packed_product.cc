#include "packed_product.h"

#include <atomic>
#include <vector>

#include "blas.h"
#include "encode/row_decoder.h"
#include "prepared.h"
#include "status.h"
#include "threads.h"

namespace lq::cpu {

Status packed_product(const EncodedView& w, const float* l1, const float* l2, const float* x, int64_t tokens,
                      float* out, const Control& control) {
  const Status status = RowDecoder::check(w, l1, l2);
  if (failed(status)) return status;
  if (tokens < 1) return error(StatusCode::invalid_argument, -1, "no tokens");
  const int64_t rows = w.rows, cols = w.cols;
  const RowDecoder decoder(w, l1, l2);
  const int64_t step = decoder.step(), panel_rows = (panels_of(rows, cols, 1).panel_rows + step - 1) / step * step;
  std::atomic<bool> stopped = false;
  parallel_for(0, rows, panel_rows, [&](int64_t begin, int64_t end) {
    if (stopped || is_cancelled(control)) {
      stopped = true;
      return;
    }
    thread_local std::vector<float> panel;
    panel.resize(static_cast<size_t>((end - begin) * cols));
    decoder.rows(begin, end, panel.data());
    sgemm(false, true, tokens, end - begin, cols, 1.0f, x, cols, panel.data(), cols, 0.0f, out + begin, rows);
  });
  return stopped ? cancelled() : ok();
}

}  // namespace lq::cpu
