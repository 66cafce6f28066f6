// AWQ (arXiv 2306.00978): what the columns of a scaled space are multiplied with, the CPU's search on the device.
#pragma once

#include <vector>

#include "runtime/memory.h"

namespace lq::cuda {

// [cols], as fp16 has them, for the target y [rows, cols] and h [cols, cols] on the device. Of the powers of the
// inputs' size on a grid the one whose codes in 3 bits, rounded to nearest in groups of 128, cost least on a sample of
// rows.
std::vector<float> search_input_scales(const Stream& stream, const float* y, int64_t rows, int64_t cols,
                                       const double* h, const std::vector<double>& row_weights);

}  // namespace lq::cuda
