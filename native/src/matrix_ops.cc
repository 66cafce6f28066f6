// Inspection: statistics, pictures, differences, singular values.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "arguments.h"
#include "file.h"
#include "matrix.h"
#include "ops.h"
#include "statistics.h"
#include "threads.h"
#include "weight_source.h"

namespace lq {
namespace {

// Feeds a CPU op from the file, piece by piece, so that the tensor is never in memory whole.
class FileElements {
 public:
  explicit FileElements(const DenseSource& source) : source_(source), file_(source.path) {
    if (file_.size() < source.offset + source.rows * source.cols * (dtype_bits(source.dtype) / 8)) {
      throw_error(StatusCode::io_error, "the file ends before the tensor does", source.path);
    }
    file_.sequential(source.offset, source.rows * source.cols * (dtype_bits(source.dtype) / 8));
  }
  const void* operator()(int64_t offset, int64_t bytes, void* out, Status* status) const {
    try {
      file_.read(source_.offset + offset, bytes, out);
    } catch (const TaskFailure& failure) {
      *status = failure.outcome.status;
    }
    return out;
  }

 private:
  const DenseSource& source_;
  const File file_;
};

Napi::Float64Array to_array(Napi::Env env, const std::vector<double>& values) {
  auto array = Napi::Float64Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

Napi::Float32Array to_array(Napi::Env env, const std::vector<float>& values) {
  auto array = Napi::Float32Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

// Runs `streamed` on a dense tensor of the CPU, `whole` on anything else. Failures name the file.
template <typename Streamed, typename Whole>
Status inspect(Device& device, const WeightSource& source, const Control& control, const Streamed& streamed,
               const Whole& whole) {
  const auto* dense = std::get_if<DenseSource>(&source);
  Status status;
  if (dense != nullptr && !dense->transposed && device.id == "cpu") {
    const FileElements elements(*dense);
    status = streamed(cpu::ElementSource{dense->dtype, dense->rows, dense->cols, elements});
  } else {
    const Matrix matrix = Matrix::load(source, *device.backend, control);
    const Gate::Pass pass(device.gate);
    status = whole(matrix.view());
  }
  if (status.code != StatusCode::ok) throw_status(status, path_of(source));
  return status;
}

}  // namespace

Napi::Value statistics_op(const Napi::CallbackInfo& info) {
  struct Call {
    Device& device;
    WeightSource source;
    Statistics out{};
    std::vector<int64_t> histogram;
    std::vector<double> rows, cols;
  };
  auto call = std::make_shared<Call>(Call{device_argument(info[0]), parse_weight(info[1]), {}, {}, {}, {}});
  const double bins = info[2].ToNumber();
  if (!(bins >= 0 && bins <= 65536)) throw Napi::TypeError::New(info.Env(), "bins must be between 0 and 65536");
  call->histogram.resize(static_cast<size_t>(bins));

  const auto work = [call](const Control& control) {
    const auto [rows, cols] = shape_of(call->source);
    call->rows.resize(static_cast<size_t>(rows));
    call->cols.resize(static_cast<size_t>(cols));
    const StatisticsRequest request{static_cast<int32_t>(call->histogram.size()), call->histogram.data(),
                                    call->rows.data(), call->cols.data()};
    return inspect(
        call->device, call->source, control,
        [&](const cpu::ElementSource& s) { return cpu::statistics(s, request, &call->out, control); },
        [&](const MatrixView& m) { return call->device.backend->statistics(m, request, &call->out, control); });
  };

  return run_task(info.Env(), info[3], work, [call](Napi::Env env) -> Napi::Value {
    const Statistics& s = call->out;
    Napi::Object o = Napi::Object::New(env);
    o.Set("count", static_cast<double>(s.count));
    o.Set("zeros", static_cast<double>(s.zeros));
    o.Set("nans", static_cast<double>(s.nans));
    o.Set("infs", static_cast<double>(s.infs));
    o.Set("firstNan", static_cast<double>(s.first_nan));
    o.Set("firstInf", static_cast<double>(s.first_inf));
    o.Set("min", s.min);
    o.Set("max", s.max);
    o.Set("mean", s.mean);
    o.Set("stddev", s.stddev);
    o.Set("absmax", s.absmax);
    o.Set("kurtosis", s.kurtosis);
    Napi::Object h = Napi::Object::New(env);
    h.Set("low", s.histogram_low);
    h.Set("high", s.histogram_high);
    h.Set("counts", to_array(env, std::vector<double>(call->histogram.begin(), call->histogram.end())));
    h.Set("sampled", static_cast<double>(s.sampled));
    o.Set("histogram", h);
    o.Set("rowNorms", to_array(env, call->rows));
    o.Set("colNorms", to_array(env, call->cols));
    return o;
  });
}

Napi::Value preview_op(const Napi::CallbackInfo& info) {
  struct Call {
    Device& device;
    WeightSource source;
    PreviewRequest request{};
    std::vector<float> minimum, maximum, mean;
  };
  auto call = std::make_shared<Call>(Call{device_argument(info[0]), parse_weight(info[1]), {}, {}, {}, {}});
  const auto [rows, cols] = shape_of(call->source);
  call->request.out_rows = static_cast<int32_t>(picture_side(info[2], rows));
  call->request.out_cols = static_cast<int32_t>(picture_side(info[3], cols));

  const auto work = [call](const Control& control) {
    const size_t cells = static_cast<size_t>(call->request.out_rows) * static_cast<size_t>(call->request.out_cols);
    call->minimum.resize(cells);
    call->maximum.resize(cells);
    call->mean.resize(cells);
    call->request.minimum = call->minimum.data();
    call->request.maximum = call->maximum.data();
    call->request.mean = call->mean.data();
    return inspect(
        call->device, call->source, control,
        [&](const cpu::ElementSource& s) { return cpu::preview(s, call->request, control); },
        [&](const MatrixView& m) { return call->device.backend->preview(m, call->request, control); });
  };

  return run_task(info.Env(), info[4], work, [call](Napi::Env env) -> Napi::Value {
    Napi::Object o = Napi::Object::New(env);
    o.Set("minimum", to_array(env, call->minimum));
    o.Set("maximum", to_array(env, call->maximum));
    o.Set("mean", to_array(env, call->mean));
    return o;
  });
}

Napi::Value difference_op(const Napi::CallbackInfo& info) {
  struct Call {
    Device& device;
    WeightSource a, b;
    int64_t out_rows, out_cols;
    double squared_error = 0, squared_norm = 0, maximum = 0;
    std::vector<float> mean;
  };
  auto call = std::make_shared<Call>(
      Call{device_argument(info[0]), parse_weight(info[1]), parse_weight(info[2]), 0, 0, 0, 0, 0, {}});
  const auto [rows, cols] = shape_of(call->a);
  if (shape_of(call->b) != std::pair(rows, cols)) throw Napi::TypeError::New(info.Env(), "the shapes differ");
  call->out_rows = picture_side(info[3], rows);
  call->out_cols = picture_side(info[4], cols);

  const auto work = [call](const Control& control) -> Status {
    const auto [rows, cols] = shape_of(call->a);
    const Matrix a = Matrix::load_float(call->a, *call->device.backend, control);
    const Matrix b = Matrix::load_float(call->b, *call->device.backend, control);
    const auto *x = static_cast<const float*>(a.view().data), *y = static_cast<const float*>(b.view().data);
    struct Part {
      double error = 0, norm = 0, maximum = 0;
    };
    std::vector<Part> parts(static_cast<size_t>(call->out_rows));
    call->mean.resize(static_cast<size_t>(call->out_rows * call->out_cols));
    cpu::parallel_for(0, call->out_rows, 1, [&, rows = rows, cols = cols](int64_t cell, int64_t) {
      Part& part = parts[static_cast<size_t>(cell)];
      const int64_t first = cell * rows / call->out_rows, last = (cell + 1) * rows / call->out_rows;
      for (int64_t c = 0; c < call->out_cols; ++c) {
        const int64_t from = c * cols / call->out_cols, to = (c + 1) * cols / call->out_cols;
        double sum = 0;
        for (int64_t i = first; i < last; ++i) {
          for (int64_t j = from; j < to; ++j) {
            const double v = static_cast<double>(x[i * cols + j]), d = v - static_cast<double>(y[i * cols + j]);
            part.error += d * d;
            part.norm += v * v;
            part.maximum = std::max(part.maximum, std::abs(d));
            sum += std::abs(d);
          }
        }
        call->mean[static_cast<size_t>(cell * call->out_cols + c)] =
            static_cast<float>(sum / static_cast<double>((last - first) * (to - from)));
      }
    });
    for (const Part& part : parts) {
      call->squared_error += part.error;
      call->squared_norm += part.norm;
      call->maximum = std::max(call->maximum, part.maximum);
    }
    return {StatusCode::ok, -1, {}};
  };

  return run_task(info.Env(), info[5], work, [call](Napi::Env env) -> Napi::Value {
    Napi::Object o = Napi::Object::New(env);
    o.Set("squaredError", call->squared_error);
    o.Set("squaredNorm", call->squared_norm);
    o.Set("maxAbsolute", call->maximum);
    o.Set("mean", to_array(env, call->mean));
    return o;
  });
}

Napi::Value singular_values_op(const Napi::CallbackInfo& info) {
  struct Call {
    Device& device;
    WeightSource source;
    uint64_t seed;
    std::vector<double> out;
  };
  auto call = std::make_shared<Call>(Call{device_argument(info[0]), parse_weight(info[1]), 0, {}});
  const auto [rows, cols] = shape_of(call->source);
  const double count = info[2].ToNumber();
  if (!(count >= 1)) throw Napi::TypeError::New(info.Env(), "count must be at least 1");
  call->out.resize(static_cast<size_t>(std::min(count, static_cast<double>(std::min(rows, cols)))));
  call->seed = static_cast<uint64_t>(info[3].ToNumber().Int64Value());

  const auto work = [call](const Control& control) -> Status {
    int exponent = 0;
    const Matrix matrix = Matrix::near_one(Matrix::load(call->source, *call->device.backend, control), &exponent);
    const Gate::Pass pass(call->device.gate);
    const Status status = call->device.backend->singular_values(matrix.view(), static_cast<int32_t>(call->out.size()),
                                                                call->seed, call->out.data(), control);
    for (double& value : call->out) value = std::ldexp(value, exponent);
    if (status.code != StatusCode::ok) throw_status(status, path_of(call->source));
    return status;
  };

  return run_task(info.Env(), info[4], work, [call](Napi::Env env) { return to_array(env, call->out); });
}

}  // namespace lq
