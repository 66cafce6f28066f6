#include "quant/book.h"

#include "runtime/status.h"

namespace lq::cuda {

DeviceBook make_device_book(const CodeBook& book) {
  DeviceBook out{};
  out.bits = book.bits;
  out.levels_count = 1 << book.bits;
  for (int i = 0; i < out.levels_count; ++i) {
    if (i > 0 && !(book.levels[i] >= book.levels[i - 1])) {
      fail(StatusCode::invalid_argument, "code book: level %d is below level %d", i, i - 1);
    }
    out.levels[i] = book.levels[i];
    if (i > 0) out.thresholds[i - 1] = 0.5f * (book.levels[i - 1] + book.levels[i]);
  }
  return out;
}

void check_config(const QuantConfig& config, const CodeBook* book) {
  const auto is_width = [](int32_t bits) { return bits == 2 || bits == 3 || bits == 4 || bits == 8; };
  if (!is_width(config.b0)) fail(StatusCode::invalid_argument, "b0 is %d, not 2, 3, 4 or 8", config.b0);
  if (!is_width(config.b1)) fail(StatusCode::invalid_argument, "b1 is %d, not 2, 3, 4 or 8", config.b1);
  if (config.block < 1) fail(StatusCode::invalid_argument, "block size is %d", config.block);
  if (config.group < 1) fail(StatusCode::invalid_argument, "group size is %d", config.group);
  if (config.b2 != ScaleDtype::BF16 && config.b2 != ScaleDtype::FP16 && config.b2 != ScaleDtype::FP32) {
    fail(StatusCode::invalid_argument, "scale type %d is unknown", static_cast<int>(config.b2));
  }
  if (book == nullptr) fail(StatusCode::invalid_argument, "no code book");
  if (book->bits != config.b0) {
    fail(StatusCode::invalid_argument, "code book of %d bits for codes of %d", book->bits, config.b0);
  }
}

}  // namespace lq::cuda
