// A file read and written at offsets.
#pragma once

#include <cstdint>
#include <string>

namespace lq {

// All throw TaskFailure (io_error, with errno as its index) that names the file.
class File {
 public:
  enum class Mode { read, write };
  // Writing needs an existing file: sizes are decided by whoever lays it out.
  explicit File(const std::string& path, Mode mode = Mode::read);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // Exactly `bytes`; a file that ends before is an error.
  void read(int64_t offset, int64_t bytes, void* out) const;
  void write(int64_t offset, int64_t bytes, const void* in) const;
  int64_t size() const;
  // Tells the kernel that the range will be read in order.
  void sequential(int64_t offset, int64_t bytes) const;
  // Copies inside the kernel where the file systems can, else through a buffer. Returns the bytes copied, at most
  // `bytes`.
  int64_t copy_to(const File& to, int64_t from_offset, int64_t to_offset, int64_t bytes) const;
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
  const int fd_;
};

// Exchanges the names of two files or folders in one step (renameat2(2), RENAME_EXCHANGE). False where the kernel or
// the file system has no such step; nothing is then changed. Throws as above for any other reason, naming `other`.
bool exchange_names(const std::string& one, const std::string& other);

}  // namespace lq
