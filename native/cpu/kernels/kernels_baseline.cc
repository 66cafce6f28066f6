#include <immintrin.h>

#include "kernels/kernels.h"

#define LQ_ISA_NAME "baseline"

namespace lq::cpu::baseline {
#include "kernels/kernels.inl"
}
