// Tensors of GGUF files: any weight as elements of a type, rows in another order.
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

Napi::Value order_rows_op(const Napi::CallbackInfo& info) {
  struct Call {
    ByteRange range;
    std::vector<int32_t> order;
  };
  const int64_t rows =
      info[1].IsTypedArray() ? static_cast<int64_t>(info[1].As<Napi::TypedArray>().ElementLength()) : 0;
  auto call = std::make_shared<Call>(Call{parse_range(info[0]), row_order(info[1], rows)});
  if (call->order.empty() || call->range.bytes % rows != 0) {
    throw Napi::TypeError::New(info.Env(), "the bytes do not divide into the rows that are ordered");
  }
  const auto work = [call](const Control&) -> Status {
    const int64_t bytes = call->range.bytes / static_cast<int64_t>(call->order.size());
    std::vector<uint8_t> in(static_cast<size_t>(call->range.bytes)), out(in.size());
    read_bytes(call->range, in.data());
    for (size_t i = 0; i < call->order.size(); ++i) {
      std::copy_n(in.begin() + call->order[i] * bytes, bytes, out.begin() + static_cast<int64_t>(i) * bytes);
    }
    write_bytes(call->range, out.data());
    return {StatusCode::ok, -1, {}};
  };
  return run_task(info.Env(), info[2], work, [](Napi::Env env) { return env.Undefined(); });
}

}  // namespace lq
