#include <immintrin.h>

#include <cstring>

#include "gguf/kernels.h"
#include "kernels/kernels.h"

namespace lq::cpu::gguf::avx2 {
#include "gguf/kernels.inl"
}
