// The devices of this process: the CPU, and the GPUs of the CUDA library beside the addon.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "lq/backend.h"

namespace lq {

struct Device {
  std::string id;  // 'cpu', 'cuda:0'
  Backend* backend;
  std::mutex mutex;  // an accelerator runs one op at a time
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
