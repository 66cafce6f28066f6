#include <immintrin.h>

#include "kernels/kernels.h"

#define LQ_ISA_NAME "avx2"

namespace lq::cpu::avx2 {
#include "kernels/kernels.inl"
}
