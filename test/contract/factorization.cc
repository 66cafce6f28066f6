// factorize and singular_values against one-sided Jacobi in double.
#include <algorithm>
#include <cmath>

#include "reference.h"
#include "suite.h"

namespace lq::contract {
namespace {

std::vector<double> scaled(const std::vector<float>& e, int64_t rows, int64_t cols, const std::vector<float>& row,
                           const std::vector<float>& col) {
  std::vector<double> out(e.size());
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      out[static_cast<size_t>(i * cols + j)] = static_cast<double>(e[static_cast<size_t>(i * cols + j)]) *
                                               (row.empty() ? 1.0 : static_cast<double>(row[static_cast<size_t>(i)])) *
                                               (col.empty() ? 1.0 : static_cast<double>(col[static_cast<size_t>(j)]));
    }
  }
  return out;
}

// The weighted error of the factors against the smallest possible, the tail of the singular values.
void check_one(Suite& suite, const std::string& what, const std::vector<float>& e, int64_t rows, int64_t cols,
               int32_t rank, bool weighted, double tolerance) {
  std::vector<float> row, col;
  if (weighted) {
    for (int64_t i = 0; i < rows; ++i) row.push_back(0.1f + static_cast<float>((i * 37) % 11));
    for (int64_t j = 0; j < cols; ++j) col.push_back(0.02f * static_cast<float>(1 + (j * 13) % 7));
  }
  const LqProblem problem{{e.data(), Dtype::F32, rows, cols},
                          nullptr,
                          weighted ? row.data() : nullptr,
                          weighted ? col.data() : nullptr,
                          1,
                          1,
                          10,
                          4,
                          42,
                          0};
  std::vector<float> l1(static_cast<size_t>(rows * rank)), l2(static_cast<size_t>(rank * cols));
  const std::string name = "factorize " + what + " " + shape_name(rows, cols) + " rank " + std::to_string(rank) +
                           (weighted ? " weighted" : "");
  const Status status = suite.backend.factorize(problem, rank, l1.data(), l2.data(), kNoControl);
  suite.code(name, status, StatusCode::ok);
  if (status.code != StatusCode::ok) return;
  const std::vector<double> a = scaled(e, rows, cols, row, col), sigma = singular_values(a, rows, cols);
  double best = 0, norm = 0;
  for (size_t i = 0; i < sigma.size(); ++i) {
    norm += sigma[i] * sigma[i];
    if (i >= static_cast<size_t>(rank)) best += sigma[i] * sigma[i];
  }
  std::vector<float> weight(e.size(), 1.0f);
  for (int64_t i = 0; weighted && i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      const float d = row[static_cast<size_t>(i)] * col[static_cast<size_t>(j)];
      weight[static_cast<size_t>(i * cols + j)] = d * d;
    }
  }
  const double error = residual(e.data(), nullptr, l1.data(), l2.data(), weight.data(), rows, cols, rank);
  suite.at_most(name + " error", error, best * (1 + tolerance) + norm * 1e-9 + 1e-30);
  // The split: columns of D_row L1 and rows of L2 D_col both have squared lengths sigma_i.
  double worst = 0;
  for (int32_t k = 0; k < rank; ++k) {
    double left = 0, right = 0;
    for (int64_t i = 0; i < rows; ++i) {
      const double x = static_cast<double>(l1[static_cast<size_t>(i * rank + k)]) *
                       (weighted ? static_cast<double>(row[static_cast<size_t>(i)]) : 1.0);
      left += x * x;
    }
    for (int64_t j = 0; j < cols; ++j) {
      const double x = static_cast<double>(l2[static_cast<size_t>(k * cols + j)]) *
                       (weighted ? static_cast<double>(col[static_cast<size_t>(j)]) : 1.0);
      right += x * x;
    }
    worst = std::max(worst, std::abs(left - right));
  }
  suite.at_most(name + " balance", worst, 2e-3 * std::max(sigma[0], 1e-30));
}

void check_singular(Suite& suite, const std::string& what, const std::vector<float>& m, int64_t rows, int64_t cols,
                    int32_t count) {
  const std::string name = "singular values " + what + " " + shape_name(rows, cols);
  std::vector<double> out(static_cast<size_t>(count));
  suite.code(name, suite.backend.singular_values({m.data(), Dtype::F32, rows, cols}, count, 1, out.data(), kNoControl),
             StatusCode::ok);
  const std::vector<double> exact = singular_values(scaled(m, rows, cols, {}, {}), rows, cols);
  double worst = 0;
  for (size_t i = 0; i < out.size(); ++i) worst = std::max(worst, std::abs(out[i] - exact[i]));
  suite.at_most(name, worst, 1e-4 * exact[0]);
}

}  // namespace

void check_factorization(Suite& suite) {
  for (const bool weighted : {false, true}) {
    check_one(suite, "decaying", decaying(96, 160, 1), 96, 160, 8, weighted, 1e-3);
    check_one(suite, "decaying", decaying(160, 90, 2), 160, 90, 16, weighted, 1e-3);
    check_one(suite, "gaussian", gaussian(128 * 200, 3), 128, 200, 8, weighted,
              2e-2);  // a flat spectrum is the hard one
    check_one(suite, "decaying", decaying(40, 688, 4), 40, 688, 4, weighted, 1e-3);
    check_one(suite, "row", gaussian(300, 5), 1, 300, 1, weighted, 1e-3);
    check_one(suite, "column", gaussian(300, 6), 300, 1, 1, weighted, 1e-3);
    check_one(suite, "rank above the size", gaussian(12 * 40, 7), 12, 40, 20, weighted, 1e-3);
    check_one(suite, "zeros", std::vector<float>(120 * 130, 0.0f), 120, 130, 8, weighted, 1e-3);
    check_one(suite, "constant", std::vector<float>(120 * 130, 0.5f), 120, 130, 8, weighted, 1e-3);
  }
  check_singular(suite, "decaying", decaying(96, 160, 1), 96, 160, 20);
  check_singular(suite, "all", gaussian(50 * 30, 2), 50, 30, 30);
  check_singular(suite, "row", gaussian(200, 3), 1, 200, 1);
  check_singular(suite, "constant", std::vector<float>(64 * 80, 1.0f), 64, 80, 8);

  std::vector<float> bad = gaussian(64 * 80, 4);
  bad[77] = std::nanf("");
  std::vector<float> l1(64 * 4), l2(4 * 80);
  const LqProblem problem{{bad.data(), Dtype::F32, 64, 80}, nullptr, nullptr, nullptr, 1, 1, 10, 2, 0, 0};
  const Status status = suite.backend.factorize(problem, 4, l1.data(), l2.data(), kNoControl);
  suite.code("factorize refuses what is not finite", status, StatusCode::not_finite);
  suite.check("factorize names the first index", status.index == 77, std::to_string(status.index));
}

}  // namespace lq::contract
