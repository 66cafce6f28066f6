// The norms of a block and of the head: RMSNorm, LayerNorm, or none, on rows of the residual stream.
#pragma once

#include "lm/planes.h"

namespace lq::cuda {

// A norm of the first `n` of `width` columns. What is beyond n is zero, and so are weight and bias there.
struct Norm {
  const float* weight;  // [width]; null: there is none, what comes in goes out
  const float* bias;    // [width], or null
  bool centred;         // LayerNorm: the mean is subtracted
  float eps;
  int64_t n, width;
};

// out [rows, width] = norm(x).
void normalize(const Stream& stream, const Norm& norm, const float* x, int64_t rows, const Planes& out);

// out [rows, width] = residual + scale * norm(x); residual null is 0. out may be residual, and x may be out.
void add_normalized(const Stream& stream, const Norm& norm, const float* x, int64_t rows, float scale,
                    const float* residual, float* out);

// From dy [rows, width], fp32 or bf16, of scale * norm(x): the gradient of x, plus residual unless that is null, in
// fp32 (dx, or null) and in planes. dx may be residual or dy.
struct NormGradient {
  const void* dy;
  bool dy_bf16;
  float scale;
  const float* residual;
  float* dx;
};
void normalize_backward(const Stream& stream, const Norm& norm, const float* x, int64_t rows,
                        const NormGradient& gradient, const Planes& out);

}  // namespace lq::cuda
