#include "encode/kernels.h"

#include "kernels/kernels.h"

namespace lq::cpu {

const EncodeKernels& encode_kernels() {
  switch (isa()) {
    case Isa::avx512:
      return avx512::encode_table;
    case Isa::avx2:
      return avx2::encode_table;
    default:
      return baseline::encode_table;
  }
}

}  // namespace lq::cpu
