// Building Status values.
#pragma once

#include <cstdarg>
#include <cstdio>

#include "lq/types.h"

namespace lq::cpu {

inline Status ok() { return Status{StatusCode::ok, -1, {}}; }

inline bool failed(const Status& s) { return s.code != StatusCode::ok; }

[[gnu::format(printf, 3, 4)]] inline Status error(StatusCode code, int64_t index, const char* format, ...) {
  Status s{code, index, {}};
  va_list args;
  va_start(args, format);
  std::vsnprintf(s.message, sizeof s.message, format, args);
  va_end(args);
  return s;
}

inline Status not_finite(int64_t index) {
  return error(StatusCode::not_finite, index, "element %lld is not a finite number", static_cast<long long>(index));
}

inline Status cancelled() { return error(StatusCode::cancelled, -1, "cancelled"); }

inline bool is_cancelled(const Control& c) { return c.cancelled != nullptr && c.cancelled(c.user); }

inline void report(const Control& c, double done, double total) {
  if (c.progress != nullptr) c.progress(c.user, done, total);
}

}  // namespace lq::cpu
