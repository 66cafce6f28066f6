// Tensors of GGUF files: any weight as elements of a type, rows in the order of rotary pairs.
#include <memory>
#include <vector>

#include "arguments.h"
#include "matrix.h"
#include "ops.h"
#include "store.h"
#include "weight_source.h"

namespace lq {

Napi::Value convert_op(const Napi::CallbackInfo& info) {
  struct Call {
    Device& device;
    WeightSource source;
    DenseSource destination;
  };
  auto call = std::make_shared<Call>(Call{device_argument(info[0]), parse_weight(info[1]), parse_dense(info[2])});
  if (!is_writable(call->destination.dtype) ||
      shape_of(call->source) != std::pair(call->destination.rows, call->destination.cols)) {
    throw Napi::TypeError::New(info.Env(), "the destination has another shape or is no floating-point tensor");
  }
  const auto work = [call](const Control& control) -> Status {
    const Matrix m = Matrix::load_float(call->source, *call->device.backend, control);
    write_dense(call->destination, static_cast<const float*>(m.view().data), control);
    return {StatusCode::ok, -1, {}};
  };
  return run_task(info.Env(), info[3], work, [](Napi::Env env) { return env.Undefined(); });
}

Napi::Value pair_rows_op(const Napi::CallbackInfo& info) {
  struct Call {
    ByteRange range;
    int64_t rows, heads;
  };
  auto call = std::make_shared<Call>(
      Call{parse_range(info[0]), static_cast<int64_t>(info[1].ToNumber()), static_cast<int64_t>(info[2].ToNumber())});
  if (call->rows < 1 || call->heads < 1 || call->rows % (2 * call->heads) != 0 || call->range.bytes % call->rows != 0) {
    throw Napi::TypeError::New(info.Env(), "the rows do not divide into pairs of heads, or the bytes into rows");
  }
  const auto work = [call](const Control&) -> Status {
    const int64_t bytes = call->range.bytes / call->rows, head = call->rows / call->heads;
    std::vector<uint8_t> in(static_cast<size_t>(call->range.bytes)), out(in.size());
    read_bytes(call->range, in.data());
    for (int64_t i = 0; i < call->rows; ++i) {
      // Stored (head, pair, half), given (head, half, pair).
      const int64_t from = i / head * head + i % 2 * (head / 2) + i % head / 2;
      std::copy_n(in.begin() + from * bytes, bytes, out.begin() + i * bytes);
    }
    write_bytes(call->range, out.data());
    return {StatusCode::ok, -1, {}};
  };
  return run_task(info.Env(), info[3], work, [](Napi::Env env) { return env.Undefined(); });
}

}  // namespace lq
