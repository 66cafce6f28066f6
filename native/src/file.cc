#include "file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <vector>

#include "task.h"

namespace lq {

File::File(const std::string& path, Mode mode)
    : path_(path), fd_(::open(path.c_str(), (mode == Mode::read ? O_RDONLY : O_WRONLY) | O_CLOEXEC)) {
  if (fd_ < 0) throw_errno(errno, "cannot open", path);
}

File::~File() { ::close(fd_); }

void File::read(int64_t offset, int64_t bytes, void* out) const {
  auto* at = static_cast<char*>(out);
  while (bytes > 0) {
    const ssize_t got = ::pread(fd_, at, static_cast<size_t>(std::min<int64_t>(bytes, 1 << 30)), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno(errno, "cannot read", path_);
    if (got == 0) throw_error(StatusCode::io_error, "the file ends before the data does", path_);
    at += got;
    offset += got;
    bytes -= got;
  }
}

void File::write(int64_t offset, int64_t bytes, const void* in) const {
  const auto* at = static_cast<const char*>(in);
  while (bytes > 0) {
    const ssize_t put = ::pwrite(fd_, at, static_cast<size_t>(std::min<int64_t>(bytes, 1 << 30)), offset);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw_errno(errno, "cannot write", path_);
    at += put;
    offset += put;
    bytes -= put;
  }
}

int64_t File::size() const {
  struct stat info {};
  if (::fstat(fd_, &info) != 0) throw_errno(errno, "cannot read the size of", path_);
  return info.st_size;
}

void File::sequential(int64_t offset, int64_t bytes) const {
  ::posix_fadvise(fd_, offset, bytes, POSIX_FADV_SEQUENTIAL);
}

int64_t File::copy_to(const File& to, int64_t from_offset, int64_t to_offset, int64_t bytes) const {
  off64_t in = from_offset, out = to_offset;
  const ssize_t copied = ::copy_file_range(fd_, &in, to.fd_, &out, static_cast<size_t>(bytes), 0);
  if (copied > 0) return copied;
  if (copied < 0 && errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP && errno != EINTR) {
    throw_errno(errno, "cannot write", to.path_);
  }
  std::vector<char> buffer(static_cast<size_t>(std::min<int64_t>(bytes, 1 << 20)));
  read(from_offset, static_cast<int64_t>(buffer.size()), buffer.data());
  to.write(to_offset, static_cast<int64_t>(buffer.size()), buffer.data());
  return static_cast<int64_t>(buffer.size());
}

bool exchange_names(const std::string& one, const std::string& other) {
  if (::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) == 0) return true;
  // EINVAL is what file systems without it say, ENOSYS kernels; an overlay cannot exchange what lies below it (EXDEV).
  if (errno == EINVAL || errno == ENOSYS || errno == EXDEV) return false;
  throw_errno(errno, "cannot exchange", other);
}

}  // namespace lq
