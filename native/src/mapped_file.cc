#include "mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "task.h"

namespace lq {

MappedFile::MappedFile(const ByteRange& range) : bytes_(range.bytes) {
  if (range.offset % static_cast<int64_t>(sizeof(float)) != 0) {
    throw_error(StatusCode::invalid_argument, "the range does not begin at a multiple of four bytes", range.path);
  }
  const int fd = ::open(range.path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) throw_errno(errno, "cannot open", range.path);
  struct stat info {};
  int failed = 0;
  if (::fstat(fd, &info) != 0) {
    failed = errno;
  } else if (info.st_size < range.offset + range.bytes) {
    ::close(fd);
    throw_error(StatusCode::io_error, "the file is shorter than the range to write", range.path);
  } else {
    failed = ::posix_fallocate(fd, range.offset, range.bytes);
  }
  if (failed == 0) {
    lead_ = range.offset % ::sysconf(_SC_PAGESIZE);
    base_ = ::mmap(nullptr, static_cast<size_t>(bytes_ + lead_), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                   range.offset - lead_);
    if (base_ == MAP_FAILED) failed = errno;
  }
  ::close(fd);
  if (failed != 0) throw_errno(failed, "cannot make room to write", range.path);
}

MappedFile::~MappedFile() { ::munmap(base_, static_cast<size_t>(bytes_ + lead_)); }

}  // namespace lq
