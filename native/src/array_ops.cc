// Ops on arrays, for conformance against recorded vectors: small, and therefore on the event loop.
#include <algorithm>
#include <vector>

#include "arguments.h"
#include "lq_arguments.h"
#include "ops.h"
#include "quantizer.h"
#include "weight_source.h"

namespace lq {
namespace {

const Control kNoControl{nullptr, nullptr, nullptr};

void check(Napi::Env env, const Status& status) {
  if (status.code != StatusCode::ok) throw to_error(env, {status, {}, {}});
}

template <typename Array, typename T>
Array to_array(Napi::Env env, const std::vector<T>& values) {
  auto array = Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

int32_t field_bits(const Napi::Value& value) {
  const int32_t bits = value.ToNumber();
  if (bits != 2 && bits != 3 && bits != 4 && bits != 8) {
    throw Napi::TypeError::New(value.Env(), "fields have 2, 3, 4 or 8 bits");
  }
  return bits;
}

Napi::Uint8Array bytes(const Napi::Value& value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    throw Napi::TypeError::New(value.Env(), "expected a Uint8Array");
  }
  return value.As<Napi::Uint8Array>();
}

MatrixView matrix_argument(const Napi::Value& values, const Napi::Value& rows, const Napi::Value& cols) {
  const auto array = floats(values, "matrix");
  const int64_t r = rows.ToNumber(), c = cols.ToNumber();
  if (r < 1 || c < 1 || static_cast<int64_t>(array.ElementLength()) != r * c) {
    throw Napi::TypeError::New(values.Env(), "the matrix is not rows x cols");
  }
  return {array.Data(), Dtype::F32, r, c};
}

std::vector<float> optional_floats(const Napi::Value& object, const char* name, int64_t count) {
  const Napi::Value value = member(object, name);
  if (value.IsUndefined()) return {};
  const auto array = floats(value, name);
  if (static_cast<int64_t>(array.ElementLength()) != count) {
    throw Napi::TypeError::New(object.Env(), std::string(name) + " has another length");
  }
  return {array.Data(), array.Data() + count};
}

Napi::Value quantize_arrays(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Device& device = device_argument(info[0]);
  const auto weights = floats(info[1], "weights");
  const int64_t n = static_cast<int64_t>(weights.ElementLength());
  const QuantConfig config = parse_config(info[2]);
  const CodeBook book = parse_book(info[3]);
  if (book.bits != config.b0) throw Napi::TypeError::New(env, "book is not a code book of b0 bits");

  std::vector<uint8_t> codes(static_cast<size_t>(code_bytes(config, n)));
  std::vector<uint8_t> scales(static_cast<size_t>(scale_bytes(config, n)));
  std::vector<uint8_t> groups(static_cast<size_t>(group_bytes(config, n)));
  QuantizedView q{config, &book, n, codes.data(), scales.data(), groups.data(), 0};
  check(env, device.backend->quantize({weights.Data(), Dtype::F32, 1, n}, &q, kNoControl));
  std::vector<float> dequantized(static_cast<size_t>(n));
  check(env, device.backend->dequantize(q, dequantized.data(), kNoControl));

  std::vector<uint8_t> code_fields(static_cast<size_t>(n)), scale_fields(static_cast<size_t>(block_count(config, n)));
  cpu::unpack_fields(codes.data(), 0, n, config.b0, code_fields.data());
  cpu::unpack_fields(scales.data(), 0, block_count(config, n), config.b1, scale_fields.data());
  std::vector<float> maxima(static_cast<size_t>(group_count(config, n)));
  cpu::load_groups(groups.data(), config.b2, maxima);

  Napi::Object o = Napi::Object::New(env);
  o.Set("offset", q.offset);
  o.Set("groups", to_array<Napi::Float32Array>(env, maxima));
  o.Set("scales", to_array<Napi::Uint8Array>(env, scale_fields));
  o.Set("codes", to_array<Napi::Uint8Array>(env, code_fields));
  o.Set("dequantized", to_array<Napi::Float32Array>(env, dequantized));
  return o;
}

Napi::Value pack(const Napi::CallbackInfo& info) {
  const auto values = bytes(info[0]);
  const int32_t bits = field_bits(info[1]);
  const int64_t n = static_cast<int64_t>(values.ElementLength());
  if (std::any_of(values.Data(), values.Data() + n, [&](uint8_t v) { return v >> bits != 0; })) {
    throw Napi::TypeError::New(info.Env(), "a value does not fit its field");
  }
  std::vector<uint8_t> out(static_cast<size_t>((n * bits + 7) / 8));
  cpu::pack_fields(values.Data(), n, bits, out.data());
  return to_array<Napi::Uint8Array>(info.Env(), out);
}

Napi::Value unpack(const Napi::CallbackInfo& info) {
  const auto packed = bytes(info[0]);
  const int32_t bits = field_bits(info[1]);
  const int64_t n = info[2].ToNumber();
  if (n < 0 || (n * bits + 7) / 8 > static_cast<int64_t>(packed.ElementLength())) {
    throw Napi::TypeError::New(info.Env(), "the packed array is shorter than its fields");
  }
  std::vector<uint8_t> out(static_cast<size_t>(n));
  cpu::unpack_fields(packed.Data(), 0, n, bits, out.data());
  return to_array<Napi::Uint8Array>(info.Env(), out);
}

Napi::Value factorize_arrays(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Device& device = device_argument(info[0]);
  const MatrixView m = matrix_argument(info[1], info[2], info[3]);
  const int32_t rank = info[4].ToNumber();
  const std::vector<float> row = optional_floats(info[5], "rowScale", m.rows);
  const std::vector<float> col = optional_floats(info[5], "colScale", m.cols);
  const LqProblem problem{m,
                          nullptr,
                          row.empty() ? nullptr : row.data(),
                          col.empty() ? nullptr : col.data(),
                          1,
                          1,
                          static_cast<int32_t>(integer(info[5], "oversampling")),
                          static_cast<int32_t>(integer(info[5], "powerIterations")),
                          static_cast<uint64_t>(integer(info[5], "seed")),
                          0};
  if (rank < 1) throw Napi::TypeError::New(env, "rank must be at least 1");
  std::vector<float> l1(static_cast<size_t>(m.rows * rank)), l2(static_cast<size_t>(rank * m.cols));
  check(env, device.backend->factorize(problem, rank, l1.data(), l2.data(), kNoControl));
  Napi::Object o = Napi::Object::New(env);
  o.Set("l1", to_array<Napi::Float32Array>(env, l1));
  o.Set("l2", to_array<Napi::Float32Array>(env, l2));
  return o;
}

Napi::Value decompose_arrays(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Device& device = device_argument(info[0]);
  const MatrixView m = matrix_argument(info[1], info[2], info[3]);
  const OptionArgument option = parse_option(info[4]);
  const LqParameters parameters = parse_parameters(info[5]);
  const std::vector<float> elements = optional_floats(info[5], "fisher", m.rows * m.cols);
  FisherWeight fisher;
  if (!elements.empty()) {
    fisher.elements = elements.data();
    try {
      fisher.scale(m.rows, m.cols, parameters.means_of_sqrt, {});
    } catch (const TaskFailure& failure) {
      throw to_error(env, failure.outcome);
    }
  }
  const int64_t n = m.rows * m.cols;
  std::vector<uint8_t> codes(static_cast<size_t>(code_bytes(option.config, n)));
  std::vector<uint8_t> scales(static_cast<size_t>(scale_bytes(option.config, n)));
  std::vector<uint8_t> groups(static_cast<size_t>(group_bytes(option.config, n)));
  std::vector<float> l1(static_cast<size_t>(m.rows * option.rank)), l2(static_cast<size_t>(option.rank * m.cols));
  std::vector<double> trace(static_cast<size_t>(parameters.iterations));
  LqResult result{{option.config, &option.book, n, codes.data(), scales.data(), groups.data(), 0},
                  l1.data(),
                  l2.data(),
                  trace.data(),
                  {}};
  check(env, device.backend->decompose(make_problem(m, fisher, parameters), {option.config, &option.book, option.rank},
                                       &result, kNoControl));
  trace.resize(static_cast<size_t>(result.cost.iterations));
  Napi::Object o = Napi::Object::New(env);
  o.Set("trace", to_array<Napi::Float64Array>(env, trace));
  o.Set("cost", result.cost.cost);
  o.Set("squaredError", result.cost.squared_error);
  o.Set("bestIteration", result.cost.best_iteration);
  return o;
}

}  // namespace

Napi::Object make_array_ops(Napi::Env env) {
  Napi::Object o = Napi::Object::New(env);
  o.Set("quantize", Napi::Function::New(env, quantize_arrays, "quantize"));
  o.Set("pack", Napi::Function::New(env, pack, "pack"));
  o.Set("unpack", Napi::Function::New(env, unpack, "unpack"));
  o.Set("factorize", Napi::Function::New(env, factorize_arrays, "factorize"));
  o.Set("decompose", Napi::Function::New(env, decompose_arrays, "decompose"));
  return o;
}

}  // namespace lq
