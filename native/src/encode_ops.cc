// Costs of encodings, and encoding.
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "arguments.h"
#include "encode_arguments.h"
#include "matrix.h"
#include "ops.h"
#include "store.h"

namespace lq {
namespace {

void check(const Status& status, const std::string& file) {
  if (status.code != StatusCode::ok) throw_status(status, file);
}

// A weight and what its metric needs, in memory: the stored matrix, and the statistics in fp32.
struct LoadedEncodeProblem {
  LoadedEncodeProblem(const DenseSource& weight, const MetricSource& metric,
                      const std::optional<CorrectionSource>& correction, uint64_t seed, const Control& control)
      : matrix(Matrix::load_dense(weight, control)) {
    refuse_unsquarable(matrix.view(), 0, weight.path);
    problem.weight = matrix.view();
    problem.metric.kind = metric.kind;
    problem.metric.damping = metric.damping;
    problem.metric.fisher = load(metric.fisher, control);
    problem.metric.row_weight = load(metric.row_weight, control);
    problem.metric.second_moment = load(metric.second_moment, control);
    if (metric.second_moment && metric.second_moment->rows == 1 && matrix.view().cols > 1) {
      statistics.push_back(Matrix::diagonal(statistics.back()));
      problem.metric.second_moment = static_cast<const float*>(statistics.back().view().data);
    }
    problem.seed = seed;
    if (correction) {
      problem.cross = load(correction->cross, control);
      problem.alpha = correction->alpha;
    }
  }
  LoadedEncodeProblem(const LoadedEncodeProblem&) = delete;

  EncodeProblem problem{};

 private:
  const float* load(const std::optional<DenseSource>& source, const Control& control) {
    if (!source) return nullptr;
    statistics.push_back(Matrix::load_dense(*source, control));
    return static_cast<const float*>(statistics.back().view().data);
  }

  Matrix matrix;
  std::vector<Matrix> statistics;
};

// The device that encodes an option: the one that was asked for, or, for what it has no code for, the CPU.
Device& encoder(Device& asked, const EncodeProblem& problem, const EncodeOption& option) {
  return asked.backend->encodes(problem, option) ? asked : *Devices::get().find("cpu");
}

}  // namespace

Napi::Value encode_costs_op(const Napi::CallbackInfo& info) {
  struct Call {
    Device& device;
    DenseSource weight;
    MetricSource metric;
    uint64_t seed;
    bool predict;
    std::vector<EncodeOptionArgument> options;
    std::vector<EncodeCost> out;
    EncodeCost norm{};
  };
  const DenseSource weight = parse_dense(info[1]);
  refuse_integers(info.Env(), weight);
  auto call = std::make_shared<Call>(Call{device_argument(info[0]),
                                          weight,
                                          parse_metric(member(info[3], "metric"), weight.rows, weight.cols),
                                          static_cast<uint64_t>(integer(info[3], "seed")),
                                          member(info[3], "predict").ToBoolean(),
                                          {},
                                          {}});
  if (!info[2].IsArray()) throw Napi::TypeError::New(info.Env(), "options is not an array");
  const auto list = info[2].As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) call->options.push_back(parse_encode_option(list.Get(i)));

  const auto work = [call](const Control& control) -> Status {
    const LoadedEncodeProblem loaded(call->weight, call->metric, std::nullopt, call->seed, control);
    std::vector<EncodeOption> options;
    for (const EncodeOptionArgument& o : call->options) options.push_back(o.with_book());
    call->out.resize(options.size());
    // The options of each device together: they share what depends on the matrix alone. Without options the norms are
    // still asked for.
    std::map<Device*, std::vector<size_t>> places;
    for (size_t i = 0; i < options.size(); ++i) places[&encoder(call->device, loaded.problem, options[i])].push_back(i);
    if (options.empty()) places[&call->device];
    Status status{StatusCode::ok, -1, {}};
    for (const auto& [device, mine] : places) {
      std::vector<EncodeOption> batch;
      for (const size_t i : mine) batch.push_back(options[i]);
      std::vector<EncodeCost> costs(batch.size());
      const Gate::Pass pass(device->gate);
      status = device->backend->encode_costs(loaded.problem, batch.data(), static_cast<int64_t>(batch.size()),
                                             call->predict, costs.data(), &call->norm, control);
      check(status, call->weight.path);
      for (size_t i = 0; i < mine.size(); ++i) call->out[mine[i]] = costs[i];
    }
    return status;
  };

  return run_task(info.Env(), info[4], work, [call](Napi::Env env) -> Napi::Value {
    const size_t n = call->out.size();
    auto costs = Napi::Float64Array::New(env, n), squared = Napi::Float64Array::New(env, n);
    auto measured = Napi::Uint8Array::New(env, n);
    for (size_t i = 0; i < n; ++i) {
      const EncodeCost& c = call->out[i];
      costs[i] = c.cost;
      squared[i] = c.measured ? c.squared_error : std::numeric_limits<double>::quiet_NaN();
      measured[i] = c.measured ? 1 : 0;
    }
    Napi::Object o = Napi::Object::New(env);
    o.Set("costs", costs);
    o.Set("squaredErrors", squared);
    o.Set("measured", measured);
    o.Set("norm", call->norm.squared_error);
    o.Set("weightedNorm", call->norm.cost);
    return o;
  });
}

Napi::Value encode_op(const Napi::CallbackInfo& info) {
  struct Call {
    Device& device;
    DenseSource weight;
    EncodeOptionArgument option;
    MetricSource metric;
    std::optional<CorrectionSource> correction;
    uint64_t seed;
    EncodedPlaces destination;
    EncodeCost cost{}, stored{};
  };
  const DenseSource weight = parse_dense(info[1]);
  refuse_integers(info.Env(), weight);
  const EncodeOptionArgument option = parse_encode_option(info[2]);
  auto call = std::make_shared<Call>(Call{
      device_argument(info[0]), weight, option, parse_metric(member(info[3], "metric"), weight.rows, weight.cols),
      parse_correction(member(info[3], "correction"), weight.cols), static_cast<uint64_t>(integer(info[3], "seed")),
      parse_encoded_places(info[4], option, weight.rows, weight.cols)});
  for (const auto* factor : {&call->destination.l1, &call->destination.l2}) refuse_unwritable(info.Env(), *factor);

  const auto work = [call](const Control& control) -> Status {
    const int64_t rows = call->weight.rows, cols = call->weight.cols;
    const int32_t rank = call->option.option.rank;
    const LoadedEncodeProblem loaded(call->weight, call->metric, call->correction, call->seed, control);
    Device& device = encoder(call->device, loaded.problem, call->option.with_book());
    Backend& backend = *device.backend;
    EncodedBuffers buffers(call->option, rows, cols, call->seed);
    std::vector<float> l1(static_cast<size_t>(rows * rank)), l2(static_cast<size_t>(rank * cols));
    {
      const Gate::Pass pass(device.gate);
      check(backend.encode(loaded.problem, &buffers.view, l1.data(), l2.data(), &call->cost, control),
            call->weight.path);
      buffers.write(call->destination);
      call->stored = call->cost;
      if (rank == 0) return {StatusCode::ok, -1, {}};
      store_factor(*call->destination.l1, l1, backend, control);
      store_factor(*call->destination.l2, l2, backend, control);
    }
    // Weights are put together by the CPU alone.
    Device& reader = *Devices::get().find("cpu");
    const Gate::Pass pass(reader.gate);
    check(reader.backend->encoded_cost(loaded.problem, buffers.view, l1.data(), l2.data(), &call->stored, control),
          call->weight.path);
    return {StatusCode::ok, -1, {}};
  };

  return run_task(info.Env(), info[5], work, [call](Napi::Env env) -> Napi::Value {
    Napi::Object o = Napi::Object::New(env);
    o.Set("cost", call->cost.cost);
    o.Set("squaredError", call->cost.squared_error);
    o.Set("storedCost", call->stored.cost);
    o.Set("storedSquaredError", call->stored.squared_error);
    return o;
  });
}

}  // namespace lq
