#include <immintrin.h>

#include "encode/kernels.h"
#include "kernels/kernels.h"

namespace lq::cpu::baseline {
#include "encode/kernels.inl"
}
