#include "decompose.h"

#include <cmath>

#include "lq.h"
#include "status.h"
#include "threads.h"

namespace lq::cpu {

Status check_problem(const LqProblem& problem) {
  const Status status = check_matrix(problem.weight);
  if (failed(status)) return status;
  const auto positive = [](const float* scale, int64_t n) {
    for (int64_t i = 0; scale != nullptr && i < n; ++i) {
      if (!(scale[i] > 0) || !std::isfinite(scale[i])) return false;
    }
    return true;
  };
  if (!positive(problem.row_scale, problem.weight.rows) || !positive(problem.col_scale, problem.weight.cols)) {
    return error(StatusCode::invalid_argument, -1, "row and column scales must be positive and finite");
  }
  const int64_t bad = first_non_finite(problem.weight);
  return bad >= 0 ? not_finite(bad) : ok();
}

Status factorize(const LqProblem& problem, int32_t rank, float* l1, float* l2, const Control& control) {
  const Status status = check_problem(problem);
  if (failed(status)) return status;
  if (rank < 1) return error(StatusCode::invalid_argument, -1, "the rank must be at least 1, not %d", rank);
  Factors factors;
  const Status done = factorize_rows(FloatRows(problem.weight), problem, rank, &factors, control);
  if (failed(done)) return done;
  std::copy(factors.l1.begin(), factors.l1.end(), l1);
  std::copy(factors.l2.begin(), factors.l2.end(), l2);
  return ok();
}

Status decompose(const LqProblem& problem, const SweepOption& option, LqResult* out, const Control& control) {
  Status status = check_problem(problem);
  if (!failed(status)) status = check_config(option.config, option.book);
  if (failed(status)) return status;
  if (out->quantized.count != problem.weight.rows * problem.weight.cols) {
    return error(StatusCode::invalid_argument, -1, "the packed tensor has another size");
  }
  const LqMatrix matrix(problem, control);
  const BookTable table = make_table(*option.book);
  std::vector<float> absmax;
  matrix.weight_absmax(option.config.block, absmax);
  LqRun run(matrix);
  const double alone = run.quantized(option, table, absmax).weighted;
  Factors start;
  if (option.rank > 0) {
    status = factorize_rows(matrix.weight, problem, option.rank, &start, control);
    if (failed(status)) return status;
  }
  status = run.run(option, table, start, out->trace, &out->cost);
  if (failed(status)) return status;
  out->cost.cost_quantized = alone;
  if (option.rank > 0) {
    std::copy(run.best().l1.begin(), run.best().l1.end(), out->l1);
    std::copy(run.best().l2.begin(), run.best().l2.end(), out->l2);
  }
  return run.store(option, table, &out->quantized);
}

}  // namespace lq::cpu
