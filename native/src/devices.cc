#include "devices.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace lq {
namespace {

// The folder this addon was loaded from.
std::string own_folder() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&own_folder), &info) == 0 || info.dli_fname == nullptr) return ".";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

int32_t lanes_of(Backend& backend) {
  DeviceInfo info{};
  backend.info(&info);
  return std::max(info.lanes, 1);
}

}  // namespace

Gate::Pass::Pass(Gate& gate, bool whole) : gate_(gate), lanes_(whole ? gate.lanes_ : 1) {
  std::unique_lock<std::mutex> lock(gate_.mutex_);
  const uint64_t ticket = gate_.next_ticket_++;
  gate_.changed_.wait(lock, [&] { return gate_.admitted_ == ticket && gate_.free_ >= lanes_; });
  gate_.free_ -= lanes_;
  ++gate_.admitted_;
  gate_.changed_.notify_all();
}

Gate::Pass::~Pass() {
  const std::lock_guard<std::mutex> lock(gate_.mutex_);
  gate_.free_ += lanes_;
  gate_.changed_.notify_all();
}

Device::Device(std::string name, Backend* of) : id(std::move(name)), backend(of), gate(lanes_of(*of)) {}

Devices& Devices::get() {
  static Devices* devices = new Devices();
  return *devices;
}

Device* Devices::find(const std::string& id) const {
  for (const auto& device : devices_) {
    if (device->id == id) return device.get();
  }
  return nullptr;
}

Devices::Devices() {
  devices_.push_back(std::make_unique<Device>("cpu", create_cpu_backend(0)));
  add_cuda();
}

// The library is optional and so is the driver: without either there is nothing to report, and nothing to use.
void Devices::add_cuda() {
  const std::string path = own_folder() + "/liblq_cuda.so";
  if (access(path.c_str(), R_OK) != 0) return;
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) {
    problems_.push_back("no NVIDIA driver (libcuda.so.1) was found; computing on the CPU");
    return;
  }
  using Initialise = int (*)(unsigned);
  using DeviceCount = int (*)(int*);
  const auto initialise = reinterpret_cast<Initialise>(dlsym(driver, "cuInit"));
  const auto device_count = reinterpret_cast<DeviceCount>(dlsym(driver, "cuDeviceGetCount"));
  int count = 0;
  if (initialise == nullptr || device_count == nullptr) {
    problems_.push_back("the NVIDIA driver library lacks cuInit or cuDeviceGetCount");
    return;
  }
  if (const int code = initialise(0); code != 0) {
    problems_.push_back("the NVIDIA driver does not start (cuInit error " + std::to_string(code) + ")");
    return;
  }
  if (const int code = device_count(&count); code != 0 || count == 0) {
    problems_.push_back("the NVIDIA driver lists no GPU");
    return;
  }
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    problems_.push_back(std::string("the CUDA backend cannot be loaded: ") + dlerror());
    return;
  }
  const auto create = reinterpret_cast<CreateBackendFn>(dlsym(library, "lq_create_backend"));
  if (create == nullptr) {
    problems_.push_back("liblq_cuda.so does not export lq_create_backend");
    return;
  }
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    Status status{StatusCode::ok, -1, {}};
    Backend* backend = create(kBackendAbi, ordinal, &status);
    std::string id = "cuda:" + std::to_string(ordinal);
    if (backend == nullptr) {
      problems_.push_back(id + ": " + status.message);
      continue;
    }
    devices_.push_back(std::make_unique<Device>(std::move(id), backend));
  }
}

}  // namespace lq
