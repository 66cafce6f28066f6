// Sweep, decomposition, reconstruction.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "arguments.h"
#include "lq_arguments.h"
#include "matrix.h"
#include "measures.h"
#include "ops.h"
#include "prepared.h"
#include "store.h"
#include "threads.h"
#include "weight_source.h"

namespace lq {
namespace {

void check(const Status& status, const std::string& file) {
  if (status.code != StatusCode::ok) throw_status(status, file);
}

std::optional<DenseSource> fisher_argument(const Napi::Value& parameters, const DenseSource& weight) {
  const Napi::Value fisher = member(parameters, "fisher");
  if (fisher.IsUndefined()) return std::nullopt;
  DenseSource source = parse_dense(fisher);
  if (source.dtype != Dtype::F32 || source.rows != weight.rows || source.cols != weight.cols) {
    throw Napi::TypeError::New(parameters.Env(), "the Fisher weight is not fp32 of the weight's shape");
  }
  return source;
}

// A weight and its Fisher weight in memory: the stored matrix, and four bytes an element for the latter.
struct LoadedProblem {
  LoadedProblem(const DenseSource& weight, const std::optional<DenseSource>& fisher, const LqParameters& parameters,
                const Control& control)
      : matrix(Matrix::near_one(Matrix::load_dense(weight, control), &exponent)) {
    refuse_unsquarable(matrix.view(), exponent, weight.path);
    if (fisher) {
      elements.emplace(Matrix::load_dense(*fisher, control));
      scales.elements = static_cast<const float*>(elements->view().data);
      scales.scale(weight.rows, weight.cols, parameters.means_of_sqrt, fisher->path);
    }
    problem = make_problem(matrix.view(), scales, parameters);
    problem.exponent = exponent;
  }

  // Errors of the problem, in units of the weight.
  double of_weight(double error) const { return std::ldexp(error, 2 * exponent); }
  SweepCost of_weight(SweepCost cost) const {
    cost.cost = of_weight(cost.cost);
    cost.squared_error = of_weight(cost.squared_error);
    cost.cost_quantized = of_weight(cost.cost_quantized);
    return cost;
  }

  // Factors of the problem to those of the weight. Half of the exponent each, so that neither leaves its type's range
  // first.
  void scale_factors(std::vector<float>& l1, std::vector<float>& l2) const {
    for (float& x : l1) x = std::ldexp(x, exponent - exponent / 2);
    for (float& x : l2) x = std::ldexp(x, exponent / 2);
  }
  // Error of what is stored, in units of the weight.
  cpu::QuantizeError error_of(const QuantizedView& q, const float* l1, const float* l2, int32_t rank,
                              const Control& control, const std::string& path) const {
    cpu::QuantizeError error{};
    check(cpu::stored_error(matrix.view(), exponent, q, l1, l2, rank, scales.elements, control, &error), path);
    return {of_weight(error.squared), of_weight(error.weighted)};
  }

  int exponent = 0;
  Matrix matrix;  // 2^-exponent times the weight
  std::optional<Matrix> elements;
  FisherWeight scales;
  LqProblem problem;
};

struct Destination {
  ByteRange codes, scales, groups, offset;
  std::optional<FactorSource> l1, l2;
};

Destination parse_destination(const Napi::Value& value, const OptionArgument& option, int64_t rows, int64_t cols) {
  Destination d{parse_range(member(value, "codes")),
                parse_range(member(value, "scales")),
                parse_range(member(value, "groups")),
                parse_range(member(value, "offset")),
                {},
                {}};
  const int64_t n = rows * cols;
  if (d.codes.bytes != code_bytes(option.config, n) || d.scales.bytes != scale_bytes(option.config, n) ||
      d.groups.bytes != group_bytes(option.config, n) || d.offset.bytes != 4) {
    throw Napi::TypeError::New(value.Env(), "a part has another size than its configuration gives");
  }
  if (option.rank == 0) return d;
  d.l1 = parse_factor(member(value, "l1"));
  d.l2 = parse_factor(member(value, "l2"));
  if (factor_rows(*d.l1) != rows || factor_columns(*d.l1) != option.rank || factor_rows(*d.l2) != option.rank ||
      factor_columns(*d.l2) != cols) {
    throw Napi::TypeError::New(value.Env(), "a factor has another shape than the rank gives");
  }
  return d;
}

// What a matrix can be instead of an LQ iterate: quantised as it is, with the best low-rank approximation of what that
// leaves (one step of the iteration begun from no factors) or with none.
struct Alternative {
  Alternative(const LoadedProblem& loaded, const OptionArgument& option, Backend& backend, const Control& control,
              const std::string& path)
      : packed(option.config, option.book, loaded.matrix.view().rows * loaded.matrix.view().cols),
        l1(static_cast<size_t>(loaded.matrix.view().rows * option.rank)),
        l2(static_cast<size_t>(option.rank * loaded.matrix.view().cols)) {
    const MatrixView& w = loaded.matrix.view();
    LqResult result{packed.view, nullptr, nullptr, nullptr, {}};
    check(backend.decompose(loaded.problem, {option.config, &option.book, 0}, &result, control), path);
    packed.view = result.quantized;
    one_step = alone = loaded.error_of(packed.view, nullptr, nullptr, 0, control, path);
    if (alone.weighted == 0) return;
    std::vector<float> rest(static_cast<size_t>(w.rows * w.cols));
    check(backend.dequantize(packed.view, rest.data(), control), path);
    const cpu::FloatRows rows(w);
    cpu::parallel_for(0, w.rows, 16, [&](int64_t b, int64_t e) {
      thread_local std::vector<float> scratch;
      const float* from = rows.rows(b, e, scratch);
      for (int64_t i = 0; i < (e - b) * w.cols; ++i)
        rest[b * w.cols + i] = from[i] - std::ldexp(rest[b * w.cols + i], -loaded.exponent);
    });
    LqProblem of_rest = loaded.problem;
    of_rest.weight = {rest.data(), Dtype::F32, w.rows, w.cols};
    check(backend.factorize(of_rest, option.rank, l1.data(), l2.data(), control), path);
    loaded.scale_factors(l1, l2);
    one_step = loaded.error_of(packed.view, l1.data(), l2.data(), option.rank, control, path);
  }

  void drop_factors() {
    std::fill(l1.begin(), l1.end(), 0.0f);
    std::fill(l2.begin(), l2.end(), 0.0f);
  }

  PackedBuffers packed;
  std::vector<float> l1, l2;
  cpu::QuantizeError alone{}, one_step{};
};

}  // namespace

Napi::Value sweep_op(const Napi::CallbackInfo& info) {
  struct Call {
    Device& device;
    DenseSource weight;
    std::vector<OptionArgument> options;
    LqParameters parameters;
    std::optional<DenseSource> fisher;
    std::vector<SweepCost> out;
    cpu::QuantizeError norm{};
  };
  auto call = std::make_shared<Call>(
      Call{device_argument(info[0]), parse_dense(info[1]), {}, parse_parameters(info[3]), {}, {}});
  refuse_integers(info.Env(), call->weight);
  call->fisher = fisher_argument(info[3], call->weight);
  if (!info[2].IsArray()) throw Napi::TypeError::New(info.Env(), "options is not an array");
  const auto list = info[2].As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) call->options.push_back(parse_option(list.Get(i)));

  const auto work = [call](const Control& control) -> Status {
    const LoadedProblem loaded(call->weight, call->fisher, call->parameters, control);
    std::vector<SweepOption> options;
    for (const OptionArgument& o : call->options) options.push_back({o.config, &o.book, o.rank});
    call->out.resize(options.size());
    check(cpu::squared_norm(loaded.matrix.view(), loaded.scales.elements, control, &call->norm), call->weight.path);
    const Gate::Pass pass(call->device.gate);
    const Status status = call->device.backend->sweep(loaded.problem, options.data(),
                                                      static_cast<int64_t>(options.size()), call->out.data(), control);
    check(status, call->weight.path);
    for (SweepCost& cost : call->out) cost = loaded.of_weight(cost);
    call->norm = {loaded.of_weight(call->norm.squared), loaded.of_weight(call->norm.weighted)};
    return status;
  };

  return run_task(info.Env(), info[4], work, [call](Napi::Env env) -> Napi::Value {
    const size_t n = call->out.size();
    auto costs = Napi::Float64Array::New(env, n), squared = Napi::Float64Array::New(env, n);
    auto quantized = Napi::Float64Array::New(env, n);
    auto iterations = Napi::Int32Array::New(env, n);
    for (size_t i = 0; i < n; ++i) {
      costs[i] = call->out[i].cost;
      squared[i] = call->out[i].squared_error;
      quantized[i] = call->out[i].cost_quantized;
      iterations[i] = call->out[i].iterations;
    }
    Napi::Object o = Napi::Object::New(env);
    o.Set("costs", costs);
    o.Set("squaredErrors", squared);
    o.Set("quantizedCosts", quantized);
    o.Set("iterations", iterations);
    o.Set("norm", call->norm.squared);
    o.Set("weightedNorm", call->norm.weighted);
    return o;
  });
}

Napi::Value decompose_op(const Napi::CallbackInfo& info) {
  struct Call {
    Device& device;
    DenseSource weight;
    OptionArgument option;
    LqParameters parameters;
    std::optional<DenseSource> fisher;
    Destination destination;
    std::vector<double> trace;
    SweepCost cost{};
    cpu::QuantizeError stored{};
  };
  const DenseSource weight = parse_dense(info[1]);
  const OptionArgument option = parse_option(info[2]);
  refuse_integers(info.Env(), weight);
  auto call = std::make_shared<Call>(Call{device_argument(info[0]),
                                          weight,
                                          option,
                                          parse_parameters(info[3]),
                                          fisher_argument(info[3], weight),
                                          parse_destination(info[4], option, weight.rows, weight.cols),
                                          {}});
  for (const auto* factor : {&call->destination.l1, &call->destination.l2}) refuse_unwritable(info.Env(), *factor);

  const auto work = [call](const Control& control) -> Status {
    const int64_t rows = call->weight.rows, cols = call->weight.cols;
    const int32_t rank = call->option.rank;
    Backend& backend = *call->device.backend;
    const LoadedProblem loaded(call->weight, call->fisher, call->parameters, control);
    PackedBuffers packed(call->option.config, call->option.book, rows * cols);
    std::vector<float> l1(static_cast<size_t>(rows * rank)), l2(static_cast<size_t>(rank * cols));
    call->trace.resize(static_cast<size_t>(call->parameters.iterations));
    LqResult result{packed.view, l1.data(), l2.data(), call->trace.data(), {}};
    const Gate::Pass pass(call->device.gate);
    check(backend.decompose(loaded.problem, {call->option.config, &call->option.book, rank}, &result, control),
          call->weight.path);
    packed.view = result.quantized;
    call->cost = loaded.of_weight(result.cost);
    call->trace.resize(static_cast<size_t>(result.cost.iterations));
    for (double& error : call->trace) error = std::ldexp(error, loaded.exponent);
    loaded.scale_factors(l1, l2);
    const auto store = [&](const PackedBuffers& q, std::vector<float>& u, std::vector<float>& v) {
      const Destination& to = call->destination;
      q.write(to.codes, to.scales, to.groups, to.offset);
      if (rank > 0) {
        store_factor(*to.l1, u, backend, control);
        store_factor(*to.l2, v, backend, control);
      }
      call->stored = loaded.error_of(q.view, u.data(), v.data(), rank, control, call->weight.path);
    };
    if (rank == 0) {
      store(packed, l1, l2);
      return {StatusCode::ok, -1, {}};
    }
    Alternative other(loaded, call->option, backend, control, call->weight.path);
    if (other.one_step.weighted < call->cost.cost) {
      call->cost.cost = other.one_step.weighted;
      call->cost.squared_error = other.one_step.squared;
      call->cost.best_iteration = 0;
      store(other.packed, other.l1, other.l2);
    } else {
      store(packed, l1, l2);
    }
    // Rounding the factors to their storage may have cost more than they gain.
    if (call->stored.weighted > other.alone.weighted) {
      other.drop_factors();
      call->cost.best_iteration = 0;
      store(other.packed, other.l1, other.l2);
    }
    if (other.alone.weighted < call->cost.cost) {
      call->cost.cost = other.alone.weighted;
      call->cost.squared_error = other.alone.squared;
    }
    return {StatusCode::ok, -1, {}};
  };

  return run_task(info.Env(), info[5], work, [call](Napi::Env env) -> Napi::Value {
    auto trace = Napi::Float64Array::New(env, call->trace.size());
    std::copy(call->trace.begin(), call->trace.end(), trace.Data());
    Napi::Object o = Napi::Object::New(env);
    o.Set("cost", call->cost.cost);
    o.Set("squaredError", call->cost.squared_error);
    o.Set("quantizedCost", call->cost.cost_quantized);
    o.Set("iterations", call->cost.iterations);
    o.Set("bestIteration", call->cost.best_iteration);
    o.Set("trace", trace);
    o.Set("storedCost", call->stored.weighted);
    o.Set("storedSquaredError", call->stored.squared);
    return o;
  });
}

Napi::Value reconstruct_op(const Napi::CallbackInfo& info) {
  Device& device = device_argument(info[0]);
  const WeightSource source = parse_weight(info[1]);
  const DenseSource to = parse_dense(info[2]);
  if (shape_of(source) != std::pair(to.rows, to.cols)) throw Napi::TypeError::New(info.Env(), "the shapes differ");
  if (!is_writable(to.dtype)) throw Napi::TypeError::New(info.Env(), "weights are written as F32, BF16 or F16");

  const auto work = [&device, source, to](const Control& control) -> Status {
    const Matrix matrix = Matrix::load_float(source, *device.backend, control);
    write_dense(to, static_cast<const float*>(matrix.view().data), control);
    return {StatusCode::ok, -1, {}};
  };

  return run_task(info.Env(), info[3], work, [](Napi::Env env) { return env.Undefined(); });
}

}  // namespace lq
