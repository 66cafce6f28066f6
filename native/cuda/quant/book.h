// Code books on the device.
#pragma once

#include <cstdint>

#include "lq/types.h"

namespace lq::cuda {

constexpr int kMaxLevels = 256;

// A code book with the midpoints that decide between neighbours: code(x) is the number of thresholds below x, so a tie
// goes to the lower index and values outside saturate.
struct DeviceBook {
  int32_t bits;
  int32_t levels_count;
  float levels[kMaxLevels];
  float thresholds[kMaxLevels];  // levels_count - 1 of them
};

// Throws invalid_argument for a book that is not 2, 3, 4 or 8 bits wide or not ascending.
DeviceBook make_device_book(const CodeBook& book);

// Throws invalid_argument for a configuration outside the format.
void check_config(const QuantConfig& config, const CodeBook* book);

}  // namespace lq::cuda
