// A writable stretch of a file in memory.
#pragma once

#include <cstdint>

#include "weight_source.h"

namespace lq {

// Maps a range of an existing file for reading and writing. The blocks are allocated first, so that a full disk is an
// io_error (ENOSPC) here and not a signal in the middle of a store. Throws TaskFailure that names the file.
class MappedFile {
 public:
  explicit MappedFile(const ByteRange& range);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  float* floats() const { return reinterpret_cast<float*>(static_cast<char*>(base_) + lead_); }
  int64_t bytes() const { return bytes_; }

 private:
  void* base_ = nullptr;
  int64_t lead_ = 0, bytes_ = 0;  // lead_: from the page's start to the range's
};

}  // namespace lq
