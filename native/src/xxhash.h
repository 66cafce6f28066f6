// XXH64, the 64-bit variant of xxHash (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md), streamed.
#pragma once

#include <cstdint>
#include <string>

namespace lq {

class Xxh64 {
 public:
  explicit Xxh64(uint64_t seed = 0);
  void add(const void* data, int64_t bytes);
  uint64_t digest() const;

 private:
  void stripe(const unsigned char* p);

  uint64_t lanes_[4];
  uint64_t seed_;
  uint64_t total_ = 0;
  unsigned char pending_[32];
  int64_t pending_bytes_ = 0;
};

// 16 lower-case hex digits.
std::string to_hex(uint64_t hash);

}  // namespace lq
