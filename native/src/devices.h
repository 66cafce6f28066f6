// The devices of this process: the CPU, and the GPUs of the CUDA library beside the addon.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "lq/backend.h"

namespace lq {

// Admits as many calls at a time as a device has lanes, in the order they came.
class Gate {
 public:
  explicit Gate(int32_t lanes) : lanes_(lanes), free_(lanes) {}
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  // A call's lane for as long as the object lives; `whole` takes all of them.
  class Pass {
   public:
    explicit Pass(Gate& gate, bool whole = false);
    ~Pass();
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    Gate& gate_;
    const int32_t lanes_;
  };

  int32_t lanes() const { return lanes_; }

 private:
  const int32_t lanes_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int32_t free_;
  uint64_t next_ticket_ = 0, admitted_ = 0;
};

struct Device {
  Device(std::string id, Backend* backend);

  const std::string id;  // 'cpu', 'cuda:0'
  Backend* const backend;
  Gate gate;
};

// A library that an accelerator needs, and the file it was found in.
struct FoundLibrary {
  std::string name, path;
};

class Devices {
 public:
  // Found on first use; lives as long as the process.
  static Devices& get();

  const std::vector<std::unique_ptr<Device>>& all() const { return devices_; }
  // What of an accelerator's libraries is there, whether or not it can be used.
  const std::vector<FoundLibrary>& libraries() const { return libraries_; }
  // What kept an accelerator from being used, a sentence each.
  const std::vector<std::string>& problems() const { return problems_; }
  // Null when there is no such device.
  Device* find(const std::string& id) const;

 private:
  Devices();
  void add_cuda();

  std::vector<std::unique_ptr<Device>> devices_;
  std::vector<FoundLibrary> libraries_;
  std::vector<std::string> problems_;
};

}  // namespace lq
