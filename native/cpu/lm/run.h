// What every run through the model shares: failures become statuses, sequences go in batches.
#pragma once

#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>

#include "lm/batch.h"

namespace lq::lm {

constexpr int64_t kMostRows = 8192;  // tokens a batch: beyond, weights are amortised long since

template <typename Work>
Status guarded(const Work& work) {
  Status status{StatusCode::ok, -1, {}};
  try {
    work();
  } catch (const Failure& failure) {
    status = failure.status;
  } catch (const std::bad_alloc&) {
    status.code = StatusCode::out_of_memory;
    std::snprintf(status.message, sizeof status.message, "not enough memory for the language model's activations");
  } catch (const std::exception& error) {
    status.code = StatusCode::internal;
    std::snprintf(status.message, sizeof status.message, "%s", error.what());
  }
  return status;
}

// Calls fn(first, count) for batches whose activations of row_floats a token stay within `bytes`.
inline void for_batches(int64_t sequences, int64_t context, int64_t row_floats, int64_t bytes,
                        cpu::FunctionRef<void(int64_t, int64_t)> fn) {
  const int64_t rows = std::min(bytes / (row_floats * static_cast<int64_t>(sizeof(float))), kMostRows);
  const int64_t most = std::max<int64_t>(rows / context, 1);
  // Batches of equal size: a short last one would use the cores less well.
  const int64_t batches = (sequences + most - 1) / most;
  for (int64_t b = 0; b < batches; ++b) {
    const int64_t first = sequences * b / batches;
    fn(first, sequences * (b + 1) / batches - first);
  }
}

// Refuses a context under `least` and tokens outside the vocabulary, with their place.
void check_tokens(const LanguageModelConfig& config, const int32_t* tokens, int64_t count, int32_t context,
                  int32_t least);

}  // namespace lq::lm
