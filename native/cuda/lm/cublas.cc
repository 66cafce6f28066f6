#include "lm/cublas.h"

#include <dlfcn.h>
#include <glob.h>
#include <library_types.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <vector>

namespace lq::cuda {
namespace {

// Of cublas_api.h, which is not needed to build.
constexpr int kNotTransposed = 0, kTransposed = 1;
constexpr int kComputeFp32 = 68;
constexpr int kDefaultAlgorithm = -1;
// Releases with what is used here, newest first.
struct Names {
  const char *cublas, *light;  // light: what cublas needs, beside it
};
constexpr Names kNames[] = {{"libcublas.so.13", "libcublasLt.so.13"}, {"libcublas.so.12", "libcublasLt.so.12"}};

// The folder of `program` on PATH, or empty.
std::filesystem::path folder_on_path(const char* program) {
  const char* path = std::getenv("PATH");
  std::stringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    std::error_code error;
    if (std::filesystem::exists(std::filesystem::path(folder) / program, error)) return folder;
  }
  return {};
}

// Folders where a toolkit or a Python environment keeps its libraries; empty stands for the loader's own search.
std::vector<std::string> folders() {
  if (const char* chosen = std::getenv("LQ_CUBLAS")) {
    if (std::string(chosen) == "none") return {};
    return {std::string(chosen) + "/"};
  }
  std::vector<std::string> out{""};
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"}) {
    if (const char* home = std::getenv(variable)) out.push_back(std::string(home) + "/lib64/");
  }
  out.push_back("/usr/local/cuda/lib64/");
  std::vector<std::string> environments;
  for (const char* variable : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
    if (const char* home = std::getenv(variable)) environments.push_back(home);
  }
  const std::filesystem::path python = folder_on_path("python3");
  if (!python.empty()) environments.push_back(python.parent_path().string());
  for (const std::string& environment : environments) {
    glob_t found{};
    const std::string pattern = environment + "/lib/python3*/site-packages/nvidia/cu*/lib/";
    if (glob(pattern.c_str(), 0, nullptr, &found) == 0) {
      for (size_t i = 0; i < found.gl_pathc; ++i) out.push_back(found.gl_pathv[i]);
    }
    globfree(&found);
  }
  return out;
}

}  // namespace

struct Cublas::Library {
  std::string path;  // empty when none was found
  int (*create)(void**) = nullptr;
  int (*destroy)(void*) = nullptr;
  int (*set_stream)(void*, cudaStream_t) = nullptr;
  int (*gemm)(void*, int, int, int, int, int, const void*, const void*, cudaDataType, int, const void*, cudaDataType,
              int, const void*, void*, cudaDataType, int, int, int) = nullptr;

  // Looks once a process. Libraries stay loaded: they keep state of the device that must not go before the driver does.
  static const Library& found() {
    static const Library library = search();
    return library;
  }

 private:
  static Library search() {
    Library out;
    for (const std::string& folder : folders()) {
      for (const Names& names : kNames) {
        dlopen((folder + names.light).c_str(), RTLD_NOW | RTLD_LOCAL);
        void* handle = dlopen((folder + names.cublas).c_str(), RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr || !find(handle, "cublasCreate_v2", &out.create) ||
            !find(handle, "cublasDestroy_v2", &out.destroy) || !find(handle, "cublasSetStream_v2", &out.set_stream) ||
            !find(handle, "cublasGemmEx", &out.gemm)) {
          continue;
        }
        out.path = folder + names.cublas;
        return out;
      }
    }
    return out;
  }

  template <typename F>
  static bool find(void* library, const char* name, F* function) {
    *function = reinterpret_cast<F>(dlsym(library, name));
    return *function != nullptr;
  }
};

Cublas::Cublas(const Library& library, const Stream& stream) : library_(library) {
  const int created = library_.create(&handle_);
  if (created != 0) {
    fail(StatusCode::device_error, "%s could not be started: status %d", library_.path.c_str(), created);
  }
  library_.set_stream(handle_, stream.get());
}

Cublas::~Cublas() { library_.destroy(handle_); }

std::unique_ptr<Cublas> Cublas::open(const Stream& stream) {
  const Library& library = Library::found();
  if (library.path.empty()) return nullptr;
  return std::unique_ptr<Cublas>(new Cublas(library, stream));
}

std::string Cublas::description() {
  const std::string& path = Library::found().path;
  return path.empty() ? "none found" : path;
}

void Cublas::multiply(bool b_transposed, const Operand& a, const Operand& b, int64_t rows, int64_t cols, int64_t inner,
                      const Target& out) const {
  const float one = 1.0f, zero = 0.0f;
  const int pairs = a.planes + b.planes - 1;
  for (int pair = 0; pair < pairs; ++pair) {
    const uint16_t* left = a.data + (a.planes == 2 && pair == pairs - 1 ? a.plane : 0);
    const uint16_t* right = b.data + (b.planes == 2 && pair == 1 ? b.plane : 0);
    // cuBLAS is column-major: it is asked for the transpose, b' a' or b a'.
    const int status = library_.gemm(
        handle_, b_transposed ? kTransposed : kNotTransposed, kNotTransposed, static_cast<int>(cols),
        static_cast<int>(rows), static_cast<int>(inner), &one, right, CUDA_R_16BF, static_cast<int>(b.stride), left,
        CUDA_R_16BF, static_cast<int>(a.stride), pair > 0 || out.accumulate ? &one : &zero, out.data,
        out.bf16 ? CUDA_R_16BF : CUDA_R_32F, static_cast<int>(out.stride), kComputeFp32, kDefaultAlgorithm);
    if (status != 0) fail(StatusCode::device_error, "cuBLAS refused a product: status %d", status);
  }
}

}  // namespace lq::cuda
