#include <immintrin.h>

#include "encode/kernels.h"
#include "kernels/kernels.h"

namespace lq::cpu::avx2 {
#include "encode/kernels.inl"
}
