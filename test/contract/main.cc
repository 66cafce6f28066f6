// lq_conformance [--device cuda:N --library PATH] [--only PART]: every op of a backend against double precision.
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <string>

#include "bf16/bf16.h"
#include "language_model.h"
#include "suite.h"

namespace {

using namespace lq;
using namespace lq::contract;

std::unique_ptr<Backend> open_library(const char* path, const char* device) {
  const char* colon = std::strrchr(device, ':');
  if (colon == nullptr) {
    std::fprintf(stderr, "%s is not a device such as cuda:0\n", device);
    return nullptr;
  }
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return nullptr;
  }
  const auto create = reinterpret_cast<CreateBackendFn>(dlsym(library, "lq_create_backend"));
  if (create == nullptr) {
    std::fprintf(stderr, "%s does not export lq_create_backend\n", path);
    return nullptr;
  }
  Status status{StatusCode::ok, -1, {}};
  std::unique_ptr<Backend> backend(create(kBackendAbi, std::atoi(colon + 1), &status));
  if (backend == nullptr) std::fprintf(stderr, "%s\n", status.message);
  return backend;
}

// The CUDA backend's products have operands of 16 bits of mantissa and fp32 sums.
constexpr LanguageModelTolerance kTwoPlanes{5e-5, 5e-4, 2e-3, 5e-5};
// So have the CPU's in pairs of bf16 terms, which may move a perplexity by 1e-4 of itself. These models are made to
// amplify rounding: which of them comes near the limit depends on how the processor's other operations round.
constexpr LanguageModelTolerance kBf16Terms{1e-4, 5e-4, 2e-3, 1e-4};

// A part of the suite, by the name --only takes.
struct Part {
  const char* name;
  void (*check)(Suite& suite, bool on_cpu);
};

void add(Suite& suite, const std::vector<LanguageModelCheck>& checks) {
  for (const LanguageModelCheck& check : checks) suite.check(check.name, check.passed, check.detail);
}

constexpr Part kParts[] = {
    {"quantization", [](Suite& suite, bool) { check_quantization(suite); }},
    {"packed-product", [](Suite& suite, bool) { check_packed_product(suite); }},
    {"bf16-products",
     [](Suite& suite, bool on_cpu) {
       if (on_cpu) check_bf16_products(suite);
     }},
    {"encoding", [](Suite& suite, bool) { check_encoding(suite); }},
    {"factorization", [](Suite& suite, bool) { check_factorization(suite); }},
    {"decomposition", [](Suite& suite, bool) { check_decomposition(suite); }},
    {"inspection", [](Suite& suite, bool) { check_inspection(suite); }},
    {"language-model",
     [](Suite& suite, bool on_cpu) {
       add(suite, check_language_model(suite.backend, on_cpu ? LanguageModelTolerance{} : kTwoPlanes));
       if (on_cpu) add(suite, check_cpu_language_model_memory());
       if (on_cpu && cpu::bf16::available() != cpu::bf16::Instructions::none) {
         add(suite, check_language_model_in_bf16(suite.backend, kBf16Terms));
       }
     }},
};

}  // namespace

int main(int argc, char** argv) {
  const char *device = nullptr, *library = nullptr, *only = nullptr;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--device") == 0) device = argv[i + 1];
    if (std::strcmp(argv[i], "--library") == 0) library = argv[i + 1];
    if (std::strcmp(argv[i], "--only") == 0) only = argv[i + 1];
  }
  const auto wanted = [&](const Part& part) { return only == nullptr || std::strcmp(part.name, only) == 0; };
  if ((device == nullptr) != (library == nullptr) || argc % 2 == 0 ||
      std::none_of(std::begin(kParts), std::end(kParts), wanted)) {
    std::fprintf(stderr, "usage: lq_conformance [--device cuda:N --library PATH] [--only PART], a part being\n");
    for (const Part& part : kParts) std::fprintf(stderr, "  %s\n", part.name);
    return 2;
  }
  const std::unique_ptr<Backend> backend =
      library != nullptr ? open_library(library, device) : std::unique_ptr<Backend>(create_cpu_backend(0));
  if (backend == nullptr) return 2;
  DeviceInfo info{};
  backend->info(&info);
  std::printf("%s\n", info.name);

  Suite suite(*backend);
  for (const Part& part : kParts) {
    if (wanted(part)) part.check(suite, library == nullptr);
  }
  std::printf("%lld passed, %lld failed\n", static_cast<long long>(suite.passed()),
              static_cast<long long>(suite.failed()));
  return suite.failed() == 0 ? 0 : 1;
}
