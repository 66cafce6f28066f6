// What can be encoded, and how errors about it read.
#pragma once

#include "lq/encode.h"

namespace lq::cpu {

// invalid_argument for values out of range, unsupported (with a sentence) for a combination that cannot be done.
Status check_option(const EncodeOption& option);
// unsupported for a matrix that an option's blocks do not divide.
Status check_shape(const EncodeOption& option, int64_t rows, int64_t cols);
// The same for what an option needs of a metric; also checks that the metric's statistics are there, finite and not
// negative.
Status check_problem(const EncodeProblem& problem);

}  // namespace lq::cpu
