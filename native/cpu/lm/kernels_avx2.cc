#include "lm/kernels.h"

namespace lq::lm::avx2 {
#include "lm/kernels.inl"
}
