// Streamed statistics and pictures of a matrix.
#pragma once

#include "lq/types.h"
#include "threads.h"

namespace lq::cpu {

// Where elements come from: fills dst with `bytes` bytes at `offset` of the matrix, or returns a pointer to them.
// Called on pool threads.
struct ElementSource {
  Dtype dtype;
  int64_t rows, cols;
  FunctionRef<const void*(int64_t offset, int64_t bytes, void* dst, Status* status)> read;
};

Status statistics(const ElementSource& source, const StatisticsRequest& request, Statistics* out,
                  const Control& control);
Status preview(const ElementSource& source, const PreviewRequest& request, const Control& control);

}  // namespace lq::cpu
