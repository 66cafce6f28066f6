// Runs a model written by lm_torch.py on the CUDA backend: checks that its losses and squared gradients are as close to
// PyTorch's in fp32 as transformers' in bf16 are, then times forward and Fisher; the same for forward with all matrices
// packed in 3 bits, checked against the quantised model expanded to nearly fp32. Prints one JSON object.
//   lq_lm_bench LIBRARY FOLDER [--check | --forward]
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "lq/backend.h"
#include "matrices.h"

namespace {

using namespace lq;
using Clock = std::chrono::steady_clock;

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::exit(1);
}

void require(const Status& status, const char* what) {
  if (status.code != StatusCode::ok) stop(std::string(what) + ": " + status.message);
}

// A read-only file mapping.
struct Mapping {
  explicit Mapping(const std::string& path) {
    const int file = open(path.c_str(), O_RDONLY);
    struct stat info {};
    if (file < 0 || fstat(file, &info) != 0) stop("cannot open " + path);
    bytes = static_cast<size_t>(info.st_size);
    void* at = mmap(nullptr, bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
    close(file);
    if (at == MAP_FAILED) stop("cannot map " + path);
    data = static_cast<const uint8_t*>(at);
  }
  const uint8_t* data;
  size_t bytes;
};

struct Place {
  int32_t layer;
  WeightKind kind;
  int32_t expert = kNoExpert;
  bool operator<(const Place& other) const {
    return std::tuple(layer, kind, expert) < std::tuple(other.layer, other.kind, other.expert);
  }
};

struct Model {
  LanguageModelConfig config{};
  int32_t context = 0, check_sequences = 0, sequences = 0;
  std::map<Place, std::pair<int64_t, int64_t>> tensors;  // offset in elements, count
  const uint16_t* weights = nullptr;
  std::vector<LayerTraits> traits;  // what config points to, of a model of experts
};

// model.txt: the sizes on one line, then a line a tensor with layer, kind, expert, offset and count.
Model read_model(const std::string& folder) {
  Model m;
  std::ifstream in(folder + "/model.txt");
  LanguageModelConfig& c = m.config;
  in >> c.layers >> c.hidden >> c.heads >> c.kv_heads >> c.head_dim >> c.intermediate >> c.vocab >> c.max_positions >>
      c.rms_eps >> c.rope_theta >> m.context >> m.check_sequences >> m.sequences >> c.moe.experts >> c.moe.top_k;
  c.rope_factor = c.rope_attention_factor = 1;
  if (c.moe.experts > 0) {
    c.moe.intermediate = c.intermediate;
    c.intermediate = 0;
    c.moe.renormalise = true;
    c.moe.fused = Fused::stacked;
    m.traits.assign(static_cast<size_t>(c.layers), {0, LayerRotary::standard, 0, true});
  }
  int32_t layer = 0, kind = 0, expert = 0;
  int64_t offset = 0, count = 0;
  while (in >> layer >> kind >> expert >> offset >> count) {
    m.tensors[{layer, static_cast<WeightKind>(kind), expert}] = {offset, count};
  }
  if (m.tensors.empty()) stop("no tensors in " + folder + "/model.txt");
  return m;
}

Status load_weight(void* user, int32_t layer, WeightKind kind, int32_t expert, float* out, int64_t count) {
  const auto& model = *static_cast<const Model*>(user);
  const auto found = model.tensors.find({layer, kind, expert});
  if (found == model.tensors.end() || found->second.second != count) {
    return {StatusCode::invalid_argument, -1, "a tensor is missing or of another size"};
  }
  const uint16_t* from = model.weights + found->second.first;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = static_cast<uint32_t>(from[i]) << 16;
    std::memcpy(out + i, &bits, sizeof bits);
  }
  return {StatusCode::ok, -1, {}};
}

// Squared gradients by matrix.
struct Sums {
  std::map<Place, std::vector<float>> values;
  static float* accumulator(void* user, int32_t layer, WeightKind kind, int32_t expert, int64_t rows, int64_t cols) {
    std::vector<float>& v = static_cast<Sums*>(user)->values[{layer, kind, expert}];
    v.resize(static_cast<size_t>(rows * cols));
    return v.data();
  }
};

// The same model with the matrices of its blocks in 3 bits.
struct QuantizedModel {
  QuantizedModel(const Model& dense, Backend* on) : model(dense), backend(on), book(bench::normal_float(3)) {}

  const Model& model;
  Backend* backend;
  CodeBook book;
  QuantizedView view{};
  std::vector<uint8_t> codes, scales, groups;
  int64_t packed_bytes = 0;

  int64_t columns_of(WeightKind kind) const {
    const LanguageModelConfig& c = model.config;
    return kind == WeightKind::o ? int64_t{c.heads} * c.head_dim : kind == WeightKind::down ? c.intermediate : c.hidden;
  }

  Status quantize(int32_t layer, WeightKind kind, bool* found) {
    const auto at = model.tensors.find({layer, kind, kNoExpert});
    *found = at != model.tensors.end() && layer >= 0 && kind >= WeightKind::q && kind <= WeightKind::down;
    if (!*found) return {StatusCode::ok, -1, {}};
    const auto [offset, count] = at->second;
    const QuantConfig config{3, 8, ScaleDtype::BF16, 64, 256};
    codes.resize(static_cast<size_t>(code_bytes(config, count)));
    scales.resize(static_cast<size_t>(scale_bytes(config, count)));
    groups.resize(static_cast<size_t>(group_bytes(config, count)));
    view = {config, &book, count, codes.data(), scales.data(), groups.data(), 0.0f};
    return backend->quantize({model.weights + offset, Dtype::BF16, 1, count}, &view, {});
  }

  static Status load(void* user, int32_t layer, WeightKind kind, int32_t, float* out, int64_t count) {
    auto& self = *static_cast<QuantizedModel*>(user);
    bool found = false;
    const Status status = self.quantize(layer, kind, &found);
    if (status.code != StatusCode::ok) return status;
    if (found) return self.backend->dequantize(self.view, out, {});
    return load_weight(const_cast<Model*>(&self.model), layer, kind, kNoExpert, out, count);
  }
  static Status load_packed(void* user, int32_t layer, WeightKind kind, int32_t expert, PackedWeight* out,
                            bool* found) {
    auto& self = *static_cast<QuantizedModel*>(user);
    *found = false;
    if (expert != kNoExpert) return {StatusCode::ok, -1, {}};
    const Status status = self.quantize(layer, kind, found);
    // Blocks run over rows, so that the shape is the reader's to give.
    const int64_t cols = self.columns_of(kind);
    *out = {encoded_view(self.view, self.view.count / cols, cols, 0), nullptr, nullptr};
    if (*found) self.packed_bytes += static_cast<int64_t>(self.codes.size() + self.scales.size() + self.groups.size());
    return status;
  }
};

int64_t free_memory(Backend* backend) {
  DeviceInfo info{};
  backend->info(&info);
  return info.memory_free;
}

double seconds(const std::function<void()>& work) {
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

int main(int argc, char** argv) {
  const bool only_check = argc == 4 && std::string(argv[3]) == "--check";
  const bool only_forward = argc == 4 && std::string(argv[3]) == "--forward";
  if (argc != 3 && !only_check && !only_forward) stop("usage: lq_lm_bench LIBRARY FOLDER [--check | --forward]");
  const std::string folder = argv[2];
  void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) stop(dlerror());
  const auto create = reinterpret_cast<CreateBackendFn>(dlsym(library, "lq_create_backend"));
  if (create == nullptr) stop("not a backend library");
  Status status{};
  Backend* backend = create(kBackendAbi, 0, &status);
  if (backend == nullptr) stop(status.message);
  DeviceInfo info{};
  backend->info(&info);
  std::fprintf(stderr, "%s: %s\n", info.name, info.detail);

  Model model = read_model(folder);
  if (!model.traits.empty()) model.config.traits = model.traits.data();
  const Mapping weights(folder + "/weights.bf16"), ids(folder + "/tokens.i32"), losses_file(folder + "/losses.f64");
  model.weights = reinterpret_cast<const uint16_t*>(weights.data);
  const auto* tokens = reinterpret_cast<const int32_t*>(ids.data);
  const auto* expected_losses = reinterpret_cast<const double*>(losses_file.data);
  LanguageModel* lm = nullptr;
  require(backend->create_language_model(model.config, {&model, load_weight}, &lm), "create");
  const int32_t context = model.context;

  std::vector<double> losses(static_cast<size_t>(model.sequences));
  const double first_seconds =
      seconds([&] { require(lm->losses(tokens, model.check_sequences, context, losses.data(), {}), "losses"); });
  double worst_loss = 0;
  for (int32_t s = 0; s < model.check_sequences; ++s) {
    std::fprintf(stderr, "  loss %.6f, PyTorch in fp32 %.6f\n", losses[s], expected_losses[s]);
    worst_loss = std::max(worst_loss, std::fabs(losses[s] - expected_losses[s]));
  }

  // Squared gradients of the first sequence: relative error of each matrix that was written, in norm and in sum.
  Sums sums;
  if (!only_forward) {
    require(lm->calibrate(tokens, 1, context, {&sums, Sums::accumulator, nullptr, nullptr}, losses.data(), {}),
            "fisher");
  }
  double worst_norm = 0, worst_sum = 0;
  for (const auto& [place, values] : sums.values) {
    const std::string path = folder + "/fisher_" + std::to_string(place.layer) + "_" +
                             std::to_string(static_cast<int>(place.kind)) + "_" + std::to_string(place.expert) + ".f32";
    if (access(path.c_str(), R_OK) != 0) continue;
    const Mapping file(path);
    const auto* expected = reinterpret_cast<const float*>(file.data);
    double difference = 0, norm = 0, sum = 0, expected_sum = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      difference += std::pow(static_cast<double>(values[i]) - expected[i], 2);
      norm += std::pow(static_cast<double>(expected[i]), 2);
      sum += values[i];
      expected_sum += expected[i];
    }
    std::fprintf(stderr, "  layer %d kind %d: squared gradients differ by %.2e of their norm, sums by %.2e\n",
                 place.layer, static_cast<int>(place.kind), std::sqrt(difference / norm),
                 std::fabs(sum / expected_sum - 1));
    worst_norm = std::max(worst_norm, std::sqrt(difference / norm));
    worst_sum = std::max(worst_sum, std::fabs(sum / expected_sum - 1));
  }
  // As close to fp32 as transformers in bf16, half as far again allowed for chance.
  double noise_loss = 0, noise_norm = 0, noise_sum = 0;
  std::ifstream(folder + "/noise.txt") >> noise_loss >> noise_norm >> noise_sum;
  const bool valid = worst_loss <= 1.5 * noise_loss && worst_norm <= 1.5 * noise_norm &&
                     worst_sum <= std::max(0.02, model.traits.empty() ? 0 : 1.5 * noise_sum);

  if (only_check || !valid) {
    std::printf("{\"valid\": %s, \"worst_loss\": %.3e, \"worst_fisher_norm\": %.3e, \"worst_fisher_sum\": %.3e}\n",
                valid ? "true" : "false", worst_loss, worst_norm, worst_sum);
    lm->destroy();
    return valid ? 0 : 1;
  }

  const double rows = static_cast<double>(model.sequences) * context;
  double forward = 1e30, fisher = 1e30;
  for (int i = 0; i < 3; ++i) {
    forward = std::min(
        forward, seconds([&] { require(lm->losses(tokens, model.sequences, context, losses.data(), {}), "losses"); }));
  }
  if (only_forward) {
    std::printf(
        "{\"valid\": true, \"worst_loss\": %.3e, \"first_seconds\": %.2f, \"forward_tokens_per_second\": %.0f}\n",
        worst_loss, first_seconds, rows / forward);
    lm->destroy();
    return 0;
  }
  // A run of fewer sequences is subtracted: what a run pays once, such as fetching the sums, is not a rate.
  const int32_t few = std::max(model.sequences / 8, 1);
  double fisher_few = 1e30;
  // Adding gigabytes of sums to the host's varies by as much as the sequences take: the best of several.
  for (int i = 0; i < 5; ++i) {
    const auto run = [&](int32_t count) {
      return seconds([&] {
        require(lm->calibrate(tokens, count, context, {&sums, Sums::accumulator, nullptr, nullptr}, losses.data(), {}),
                "fisher");
      });
    };
    fisher_few = std::min(fisher_few, run(few));
    fisher = std::min(fisher, run(model.sequences));
  }
  lm->destroy();

  const double fisher_rate = (model.sequences - few) * context / (fisher - fisher_few);
  if (!model.traits.empty()) {
    std::printf(
        "{\"valid\": true, \"worst_loss\": %.3e, \"worst_fisher_norm\": %.3e, \"worst_fisher_sum\": %.3e, "
        "\"first_seconds\": %.2f, \"forward_tokens_per_second\": %.0f, \"fisher_tokens_per_second\": %.0f, "
        "\"fisher_seconds\": %.3f}\n",
        worst_loss, worst_norm, worst_sum, first_seconds, rows / forward, fisher_rate, fisher);
    return 0;
  }

  // Packed: one sequence a batch for the memory it takes, then the whole for time.
  std::vector<double> expanded_losses(losses.size());
  QuantizedModel quantized(model, backend);
  require(backend->create_language_model(model.config, {&quantized, QuantizedModel::load}, &lm), "create");
  require(lm->losses(tokens, model.check_sequences, context, expanded_losses.data(), {}), "losses");
  lm->destroy();
  int64_t dense_bytes = 0;
  for (const auto& [place, tensor] : model.tensors) {
    if (place.kind < WeightKind::q || place.kind > WeightKind::down) dense_bytes += tensor.second * 2;
  }
  const int64_t before = free_memory(backend);
  require(backend->create_language_model(model.config, {&quantized, QuantizedModel::load, QuantizedModel::load_packed},
                                         &lm),
          "create");
  require(lm->losses(tokens, 1, context, losses.data(), {}), "losses");
  const int64_t packed_memory = before - free_memory(backend);
  require(lm->losses(tokens, model.check_sequences, context, losses.data(), {}), "losses");
  double packed_loss = 0;
  for (int32_t s = 0; s < model.check_sequences; ++s) {
    packed_loss = std::max(packed_loss, std::fabs(losses[s] - expanded_losses[s]));
  }
  double packed_forward = 1e30;
  for (int i = 0; i < 3; ++i) {
    packed_forward =
        std::min(packed_forward,
                 seconds([&] { require(lm->losses(tokens, model.sequences, context, losses.data(), {}), "losses"); }));
  }
  lm->destroy();
  if (!(packed_loss <= 1.5 * noise_loss)) stop("packed losses are " + std::to_string(packed_loss) + " off");
  std::printf(
      "{\"valid\": true, \"worst_loss\": %.3e, \"worst_fisher_norm\": %.3e, \"worst_fisher_sum\": %.3e, "
      "\"first_seconds\": %.2f, \"forward_tokens_per_second\": %.0f, \"fisher_tokens_per_second\": %.0f, "
      "\"fisher_seconds\": %.3f, \"packed_worst_loss\": %.3e, \"packed_forward_tokens_per_second\": %.0f, "
      "\"packed_gigabytes\": %.3f, \"other_gigabytes\": %.3f, \"packed_run_gigabytes\": %.3f}\n",
      worst_loss, worst_norm, worst_sum, first_seconds, rows / forward, fisher_rate, fisher, packed_loss,
      rows / packed_forward, static_cast<double>(quantized.packed_bytes) / 1e9, static_cast<double>(dense_bytes) / 1e9,
      static_cast<double>(packed_memory) / 1e9);
  return 0;
}
