#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "file.h"
#include "ops.h"
#include "weight_source.h"
#include "xxhash.h"

namespace lq {
namespace {

constexpr int64_t kHashPiece = 1 << 20;
// Long enough for the kernel to copy at full speed, short enough to stop quickly.
constexpr int64_t kCopyPiece = 64 << 20;

Status stopped() { return {StatusCode::cancelled, -1, "cancelled"}; }

}  // namespace

Napi::Value hash_op(const Napi::CallbackInfo& info) {
  const ByteRange range = parse_range(info[0]);
  auto hash = std::make_shared<uint64_t>(0);

  const auto work = [range, hash](const Control& control) -> Status {
    const File file(range.path);
    file.sequential(range.offset, range.bytes);
    std::vector<char> buffer(static_cast<size_t>(std::min(range.bytes, kHashPiece)));
    Xxh64 state;
    for (int64_t at = 0; at < range.bytes; at += kHashPiece) {
      if (control.cancelled(control.user)) return stopped();
      const int64_t n = std::min(kHashPiece, range.bytes - at);
      file.read(range.offset + at, n, buffer.data());
      state.add(buffer.data(), n);
      control.progress(control.user, static_cast<double>(at + n), static_cast<double>(range.bytes));
    }
    *hash = state.digest();
    return {StatusCode::ok, -1, {}};
  };

  return run_task(info.Env(), info[1], work, [hash](Napi::Env env) { return Napi::String::New(env, to_hex(*hash)); });
}

Napi::Value copy_op(const Napi::CallbackInfo& info) {
  const ByteRange from = parse_range(info[0]), to = parse_range(info[1]);
  if (from.bytes != to.bytes) throw Napi::TypeError::New(info.Env(), "the ranges have different sizes");

  const auto work = [from, to](const Control& control) -> Status {
    const File source(from.path), target(to.path, File::Mode::write);
    if (source.size() < from.offset + from.bytes) {
      throw_error(StatusCode::io_error, "the file ends before the data does", from.path);
    }
    for (int64_t at = 0; at < from.bytes;) {
      if (control.cancelled(control.user)) return stopped();
      at += source.copy_to(target, from.offset + at, to.offset + at, std::min(kCopyPiece, from.bytes - at));
      control.progress(control.user, static_cast<double>(at), static_cast<double>(from.bytes));
    }
    return {StatusCode::ok, -1, {}};
  };

  return run_task(info.Env(), info[2], work, [](Napi::Env env) { return env.Undefined(); });
}

Napi::Value exchange_op(const Napi::CallbackInfo& info) {
  const std::string one = info[0].As<Napi::String>(), other = info[1].As<Napi::String>();
  auto done = std::make_shared<bool>(false);
  const auto work = [one, other, done](const Control&) -> Status {
    *done = exchange_names(one, other);
    return {StatusCode::ok, -1, {}};
  };
  return run_task(info.Env(), info[2], work, [done](Napi::Env env) { return Napi::Boolean::New(env, *done); });
}

Napi::Value weighted_sum_op(const Napi::CallbackInfo& info) {
  struct Term {
    ByteRange range;
    double weight;
  };
  std::vector<Term> terms;
  const auto list = info[0].As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const auto entry = list.Get(i).As<Napi::Object>();
    terms.push_back({parse_range(entry.Get("range")), entry.Get("weight").ToNumber().DoubleValue()});
  }
  const ByteRange to = parse_range(info[1]);
  const auto differs = [&](const Term& term) { return term.range.bytes != to.bytes; };
  if (to.bytes % sizeof(float) != 0 || std::any_of(terms.begin(), terms.end(), differs)) {
    throw Napi::TypeError::New(info.Env(), "the ranges have different sizes");
  }

  const auto work = [terms, to](const Control& control) -> Status {
    constexpr auto kFloatBytes = static_cast<int64_t>(sizeof(float));
    std::vector<float> values(static_cast<size_t>(std::min(to.bytes, kHashPiece) / kFloatBytes));
    std::vector<double> sums(values.size());
    for (int64_t at = 0; at < to.bytes; at += kHashPiece) {
      if (control.cancelled(control.user)) return stopped();
      const int64_t bytes = std::min(kHashPiece, to.bytes - at), count = bytes / kFloatBytes;
      std::fill_n(sums.begin(), count, 0.0);
      for (const Term& term : terms) {
        read_bytes({term.range.path, term.range.offset + at, bytes}, values.data());
        for (int64_t i = 0; i < count; ++i) sums[i] += term.weight * values[i];
      }
      std::transform(sums.begin(), sums.begin() + count, values.begin(),
                     [](double x) { return static_cast<float>(x); });
      write_bytes({to.path, to.offset + at, bytes}, values.data());
      control.progress(control.user, static_cast<double>(at + bytes), static_cast<double>(to.bytes));
    }
    return {StatusCode::ok, -1, {}};
  };

  return run_task(info.Env(), info[2], work, [](Napi::Env env) { return env.Undefined(); });
}

}  // namespace lq
