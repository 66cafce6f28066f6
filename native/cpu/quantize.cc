#include "quantize.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "status.h"
#include "threads.h"

namespace lq::cpu {
namespace {

// Codes of whole bytes: pieces hold a multiple of eight codes and of blocks.
int64_t piece_weights(int32_t block) { return round_up(1 << 16, 8LL * block); }

}  // namespace

Status pack_quantized(const QuantConfig& config, const BookTable& table, BlockScales& scales, QuantizedView* q,
                      const Control& control, FunctionRef<const float*(int64_t, int64_t)> values) {
  q->config = config;
  q->offset = std::ldexp(scales.offset, scales.exponent);
  const int64_t count = q->count, piece = piece_weights(config.block);
  std::atomic<bool> stopped = false;
  parallel_for(0, count, piece, [&](int64_t b, int64_t e) {
    if (is_cancelled(control)) {
      stopped = true;
      return;
    }
    thread_local std::vector<uint8_t> codes;
    codes.resize(static_cast<size_t>(e - b));
    const int64_t first = b / config.block;
    kernels().quantize({values(b, e), e - b, config.block, scales.decoded.data() + first, scales.inverse.data() + first,
                        &table, nullptr, nullptr, nullptr, codes.data()});
    pack_fields(codes.data(), e - b, config.b0, q->codes + b * config.b0 / 8);
  });
  if (stopped) return cancelled();
  pack_fields(scales.k.data(), static_cast<int64_t>(scales.k.size()), config.b1, q->scales);
  store_groups(scales.v, config.b2, q->groups);
  return ok();
}

Status quantize(const MatrixView& m, QuantizedView* q, const Control& control) {
  Status status = check_matrix(m);
  if (!failed(status)) status = check_config(q->config, q->book);
  if (failed(status)) return status;
  if (q->count != m.rows * m.cols) return error(StatusCode::invalid_argument, -1, "the packed tensor has another size");
  const int64_t bad = first_non_finite(m);
  if (bad >= 0) return not_finite(bad);
  const QuantConfig config = q->config;
  const BookTable table = make_table(*q->book);
  BlockScales scales;
  scales.resize(config, q->count, true);
  const FloatRows flat(MatrixView{m.data, m.dtype, q->count, 1});
  parallel_for(0, q->count, piece_weights(config.block), [&](int64_t b, int64_t e) {
    thread_local std::vector<float> scratch;
    kernels().block_absmax(flat.rows(b, e, scratch), e - b, config.block, scales.absmax.data() + b / config.block);
  });
  scales.compute(config, scales.absmax.data(), true);
  return pack_quantized(config, table, scales, q, control, [&](int64_t b, int64_t e) {
    thread_local std::vector<float> scratch;
    return flat.rows(b, e, scratch);
  });
}

Status dequantize(const QuantizedView& q, float* out, const Control& control) {
  const Status status = check_config(q.config, q.book);
  if (failed(status)) return status;
  const BookTable table = make_table(*q.book);
  std::vector<float> scales;
  decode_scales(q, scales);
  std::atomic<bool> stopped = false;
  parallel_for(0, q.count, 1 << 16, [&](int64_t b, int64_t e) {
    if (is_cancelled(control)) {
      stopped = true;
      return;
    }
    thread_local std::vector<uint8_t> scratch;
    decode_weights(q, table, scales, b, e, out + b, scratch);
  });
  return stopped ? cancelled() : ok();
}

Status reconstruct(const QuantizedView& q, const float* l1, const float* l2, int64_t rows, int64_t cols, int32_t rank,
                   float* out, const Control& control) {
  if (rows * cols != q.count) return error(StatusCode::invalid_argument, -1, "the packed tensor has another size");
  if (rank > 0 && (l1 == nullptr || l2 == nullptr)) {
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
    float* w = out + b * cols;
    decode_weights(q, table, scales, b * cols, e * cols, w, scratch);
    if (rank > 0) kernels().add_low_rank(w, l1 + b * rank, l2, w, e - b, cols, rank, false);
  });
  return stopped ? cancelled() : ok();
}

}  // namespace lq::cpu
