#include <immintrin.h>

#include <cstring>

#include "gguf/kernels.h"
#include "kernels/kernels.h"

namespace lq::cpu::gguf::avx512 {
#include "gguf/kernels.inl"
}
