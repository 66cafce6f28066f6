#include "devices.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace lq {
namespace {

// The file that a function was loaded from, empty when it is unknown.
std::string file_of(const void* function) {
  Dl_info info{};
  return dladdr(function, &info) == 0 || info.dli_fname == nullptr ? "" : info.dli_fname;
}

// The folder this addon was loaded from.
std::string own_folder() {
  const std::string path = file_of(reinterpret_cast<const void*>(&own_folder));
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

// The library is optional and so is the driver: what there is and what is missing is told, and the CPU is used.
void Devices::add_cuda() {
  const std::string path = own_folder() + "/liblq_cuda.so";
  if (access(path.c_str(), R_OK) != 0) {
    problems_.push_back("the CUDA backend is not installed: there is no " + path);
    return;
  }
  libraries_.push_back({"CUDA backend", path});
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) {
    problems_.push_back(std::string("no NVIDIA driver: ") + dlerror());
    return;
  }
  using Initialise = int (*)(unsigned);
  using Number = int (*)(int*);
  const auto initialise = reinterpret_cast<Initialise>(dlsym(driver, "cuInit"));
  const auto device_count = reinterpret_cast<Number>(dlsym(driver, "cuDeviceGetCount"));
  const auto driver_version = reinterpret_cast<Number>(dlsym(driver, "cuDriverGetVersion"));
  if (initialise == nullptr || device_count == nullptr || driver_version == nullptr) {
    problems_.push_back(
        "libcuda.so.1 is not an NVIDIA driver: it lacks cuInit, cuDeviceGetCount or cuDriverGetVersion");
    return;
  }
  int version = 0, count = 0;
  driver_version(&version);
  libraries_.push_back(
      {"NVIDIA driver for CUDA " + std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10),
       file_of(reinterpret_cast<const void*>(initialise))});
  constexpr int kNoDevice = 100;
  const int started = initialise(0);
  if (started != 0 && started != kNoDevice) {
    problems_.push_back("the NVIDIA driver does not start (cuInit error " + std::to_string(started) + ")");
    return;
  }
  if (started == kNoDevice || device_count(&count) != 0 || count == 0) {
    problems_.push_back("no GPU: the NVIDIA driver lists none");
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
