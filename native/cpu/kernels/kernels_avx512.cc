#include <immintrin.h>

#include "kernels/kernels.h"

#define LQ_ISA_NAME "avx512"

namespace lq::cpu::avx512 {
#include "kernels/kernels.inl"
}
