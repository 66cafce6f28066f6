#include "lm/kernels.h"

namespace lq::lm::avx512 {
#include "lm/kernels.inl"
}
