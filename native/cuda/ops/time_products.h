// The entry that test/bench/cuda/product_bench.cc calls: times of products as they run inside the language model.
#pragma once

#include "lq/encode.h"

namespace lq::cuda {

struct ProductTimes {
  EncodedView w;          // [rows, cols], both multiples of 8
  const float *l1, *l2;   // [rows, rank], [rank, cols]; null at rank 0
  const uint16_t* dense;  // bf16 [rows, cols], what the packed matrix is compared with
  int32_t batches;
  const int64_t* tokens;  // [batches]
  const uint16_t* x;      // bf16 [most of tokens, cols]
  // Results, in the order of `tokens`.
  uint16_t* const* out;          // [batches] of bf16 [tokens, rows], the packed product
  double *packed_us, *dense_us;  // [batches], microseconds a product, bf16 in and out
};

// Exported as `lq_time_products`; fills status.
using TimeProductsFn = void (*)(int32_t device, const ProductTimes* times, Status* status);

}  // namespace lq::cuda
