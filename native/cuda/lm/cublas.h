// cuBLAS, if this machine has it: found and loaded at run time, never linked.
#pragma once

#include <memory>
#include <string>

#include "lm/product.h"

namespace lq::cuda {

class Cublas {
 public:
  // Looks in the folder LQ_CUBLAS names (`none`: nowhere), else where the system's loader looks, in CUDA_HOME and
  // CUDA_PATH, and in the Python environment in use; releases 12 and 13. Null when there is none, and then products run
  // on this library's own kernels. Throws device_error when there is one that does not start.
  static std::unique_ptr<Cublas> open(const Stream& stream);
  // The path of the library that open() would use, or "none found".
  static std::string description();
  ~Cublas();
  Cublas(const Cublas&) = delete;
  Cublas& operator=(const Cublas&) = delete;

  // out [rows, cols] = a [rows, inner] times b' (b is [cols, inner]) or b ([inner, cols]). Throws device_error.
  void multiply(bool b_transposed, const Operand& a, const Operand& b, int64_t rows, int64_t cols, int64_t inner,
                const Target& out) const;

 private:
  struct Library;
  Cublas(const Library& library, const Stream& stream);
  const Library& library_;
  void* handle_ = nullptr;
};

}  // namespace lq::cuda
