#include "gguf/kernels.h"

#include "kernels/kernels.h"

namespace lq::cpu::gguf {
namespace {

const EncodeKernels& best() {
  switch (isa()) {
    case Isa::avx512:
      return avx512::encode_table;
    case Isa::avx2:
      return avx2::encode_table;
    default:
      return baseline::encode_table;
  }
}

}  // namespace

const EncodeKernels& encode_kernels() {
  static const EncodeKernels& chosen = best();
  return chosen;
}

}  // namespace lq::cpu::gguf
