#include <immintrin.h>

#include "encode/kernels.h"
#include "kernels/kernels.h"

namespace lq::cpu::avx512 {
#include "encode/kernels.inl"
}
