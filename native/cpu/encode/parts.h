// Parts of an encoding that may yet be thrown away. Shared by the backends, which alternate low rank and codes alike.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "lq/encode.h"

namespace lq {

// Parts of one alternation, in the places of a view when that has any.
struct Parts {
  explicit Parts(const EncodedView& like) : view(like) {
    for (int32_t i = 0; i < kPartCount; ++i) {
      if (like.parts[i] == nullptr) continue;
      bytes[i].resize(static_cast<size_t>(part_bytes(like.option, like.rows, like.cols, static_cast<EncodedPart>(i))));
      view.parts[i] = bytes[i].data();
    }
  }
  Parts(const Parts&) = delete;
  void copy_to(const EncodedView& out) const {
    for (int32_t i = 0; i < kPartCount; ++i) std::copy(bytes[i].begin(), bytes[i].end(), out.parts[i]);
  }
  std::vector<uint8_t> bytes[kPartCount];
  EncodedView view;
};

}  // namespace lq
