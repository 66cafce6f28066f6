#include "gguf/kernels.h"

#include "kernels/kernels.h"

namespace lq::cpu::gguf {

const EncodeKernels& encode_kernels() {
  static const EncodeKernels& chosen =
      table_for(isa(), baseline::encode_table, avx2::encode_table, avx512::encode_table);
  return chosen;
}

}  // namespace lq::cpu::gguf
