#include "lq_arguments.h"

#include "arguments.h"
#include "measures.h"
#include "task.h"

namespace lq {
namespace {

int32_t small(const Napi::Value& value, const char* name, int64_t least, int64_t most) {
  const int64_t n = integer(value, name);
  if (n < least || n > most) {
    throw Napi::TypeError::New(
        value.Env(), std::string(name) + " must be between " + std::to_string(least) + " and " + std::to_string(most));
  }
  return static_cast<int32_t>(n);
}

}  // namespace

OptionArgument parse_option(const Napi::Value& value) {
  return {parse_config(member(value, "config")), parse_book(member(value, "book")), small(value, "rank", 0, 1 << 20)};
}

LqParameters parse_parameters(const Napi::Value& value) {
  LqParameters p{};
  const std::string scales = text(value, "scales");
  if (scales != "sqrt-of-means" && scales != "means-of-sqrt") {
    throw Napi::TypeError::New(value.Env(), "unknown scales " + scales);
  }
  p.means_of_sqrt = scales == "means-of-sqrt";
  p.iterations = small(value, "iterations", 1, 10000);
  p.patience = small(value, "patience", 1, 10000);
  p.oversampling = small(value, "oversampling", 0, 4096);
  p.power_iterations = small(value, "powerIterations", 0, 100);
  p.seed = static_cast<uint64_t>(integer(value, "seed"));
  return p;
}

void FisherWeight::scale(int64_t rows, int64_t cols, bool means_of_sqrt, const std::string& file) {
  row.resize(static_cast<size_t>(rows));
  col.resize(static_cast<size_t>(cols));
  const Status status = cpu::fisher_scales(elements, rows, cols, means_of_sqrt, row.data(), col.data());
  if (status.code != StatusCode::ok) throw_status(status, file);
}

LqProblem make_problem(const MatrixView& weight, const FisherWeight& fisher, const LqParameters& p) {
  return {weight,
          fisher.elements,
          fisher.row.empty() ? nullptr : fisher.row.data(),
          fisher.col.empty() ? nullptr : fisher.col.data(),
          p.iterations,
          p.patience,
          p.oversampling,
          p.power_iterations,
          p.seed,
          0};
}

}  // namespace lq
