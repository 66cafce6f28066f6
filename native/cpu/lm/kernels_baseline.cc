#include "lm/kernels.h"

namespace lq::lm::baseline {
#include "lm/kernels.inl"
}
