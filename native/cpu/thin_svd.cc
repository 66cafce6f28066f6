#include "thin_svd.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "blas.h"
#include "threads.h"

namespace lq::cpu {
namespace {

// Upper Cholesky factor of the positive semi-definite g [k, k], inverted in place: columns that depend on earlier ones
// (zero columns of the basis among them) become zero, and so drop out of everything that follows.
void inverse_cholesky(std::vector<double>& g, int64_t k, std::vector<double>& inverse) {
  std::vector<char> kept(static_cast<size_t>(k), 1);
  const auto at = [k](int64_t i, int64_t j) { return static_cast<size_t>(i * k + j); };
  double largest = 0;
  for (int64_t i = 0; i < k; ++i) largest = std::max(largest, g[at(i, i)]);
  for (int64_t j = 0; j < k; ++j) {
    const double before = g[at(j, j)];
    double pivot = before;
    for (int64_t p = 0; p < j; ++p) pivot -= g[at(p, j)] * g[at(p, j)];
    if (!(pivot > 1e-6 * before) || !(pivot > 1e-26 * largest)) {
      kept[static_cast<size_t>(j)] = 0;
      for (int64_t i = 0; i < k; ++i) g[at(j, i)] = 0;
      continue;
    }
    const double r = std::sqrt(pivot);
    g[at(j, j)] = r;
    for (int64_t i = j + 1; i < k; ++i) {
      double sum = g[at(j, i)];
      for (int64_t p = 0; p < j; ++p) sum -= g[at(p, j)] * g[at(p, i)];
      g[at(j, i)] = sum / r;
    }
  }
  inverse.assign(static_cast<size_t>(k * k), 0.0);
  for (int64_t j = 0; j < k; ++j) {
    if (!kept[static_cast<size_t>(j)]) continue;
    inverse[at(j, j)] = 1 / g[at(j, j)];
    for (int64_t i = j - 1; i >= 0; --i) {
      if (!kept[static_cast<size_t>(i)]) continue;
      double sum = 0;
      for (int64_t p = i + 1; p <= j; ++p) sum += g[at(i, p)] * inverse[at(p, j)];
      inverse[at(i, j)] = -sum / g[at(i, i)];
    }
  }
}

// Eigenvectors (columns of u) and eigenvalues of the symmetric h by cyclic Jacobi, which keeps the relative accuracy of
// graded matrices and needs few rotations on one that is nearly diagonal.
void jacobi(std::vector<double>& h, int64_t k, std::vector<double>& u) {
  const auto at = [k](int64_t i, int64_t j) { return static_cast<size_t>(i * k + j); };
  u.assign(static_cast<size_t>(k * k), 0.0);
  for (int64_t i = 0; i < k; ++i) u[at(i, i)] = 1;
  for (int sweep = 0; sweep < 30; ++sweep) {
    bool rotated = false;
    for (int64_t p = 0; p + 1 < k; ++p) {
      for (int64_t q = p + 1; q < k; ++q) {
        const double apq = h[at(p, q)], app = h[at(p, p)], aqq = h[at(q, q)];
        if (std::abs(apq) <= 1e-9 * std::sqrt(std::abs(app * aqq)) || apq == 0) continue;
        rotated = true;
        const double theta = (aqq - app) / (2 * apq);
        const double t = (theta >= 0 ? 1.0 : -1.0) / (std::abs(theta) + std::sqrt(theta * theta + 1));
        const double c = 1 / std::sqrt(t * t + 1), s = t * c;
        double* hp = &h[at(p, 0)];
        double* hq = &h[at(q, 0)];
        for (int64_t i = 0; i < k; ++i) {
          const double x = hp[i], y = hq[i];
          hp[i] = c * x - s * y;
          hq[i] = s * x + c * y;
        }
        for (int64_t i = 0; i < k; ++i) {
          const double x = h[at(i, p)], y = h[at(i, q)];
          h[at(i, p)] = c * x - s * y;
          h[at(i, q)] = s * x + c * y;
        }
        // u is kept transposed: its rows are rotated, contiguously.
        double* up = &u[at(p, 0)];
        double* uq = &u[at(q, 0)];
        for (int64_t i = 0; i < k; ++i) {
          const double x = up[i], y = uq[i];
          up[i] = c * x - s * y;
          uq[i] = s * x + c * y;
        }
      }
    }
    if (!rotated) break;
  }
}

// Above this LAPACK's divide and conquer is faster than Jacobi.
constexpr int64_t kJacobiSize = 48;

}  // namespace

ThinSvd::ThinSvd(int64_t rows, int64_t cols, const float* row_scale, const float* col_scale, int64_t rank,
                 int64_t oversampling)
    : rows_(rows), cols_(cols), rank_(rank) {
  k_ = basis_columns(rank, oversampling);
  used_ = std::min({k_, rows, cols});
  pieces_ = std::clamp<int64_t>(rows * cols < (1 << 20) ? 1 : rows / (8 * k_), 1, 64);
  if (row_scale != nullptr) {
    row_squared_.resize(static_cast<size_t>(rows));
    for (int64_t i = 0; i < rows; ++i) row_squared_[static_cast<size_t>(i)] = row_scale[i] * row_scale[i];
  }
  if (col_scale != nullptr) col_scale_.assign(col_scale, col_scale + cols);
  v_.resize(static_cast<size_t>(cols * k_));
  y_.resize(static_cast<size_t>(rows * k_));
  zt_.resize(static_cast<size_t>(pieces_ * k_ * cols));
}

void ThinSvd::start_random(uint64_t seed) {
  std::mt19937_64 generator(seed);
  // Uniform in [-1, 1): the sketch only needs a density; unlike std::normal_distribution it is the same everywhere.
  const auto next = [&] { return static_cast<float>(static_cast<int64_t>(generator()) >> 11) * 0x1p-52f; };
  for (int64_t j = 0; j < cols_; ++j) {
    const float scale = col_scale_.empty() ? 1.0f : col_scale_[static_cast<size_t>(j)];
    for (int64_t c = 0; c < k_; ++c) v_[static_cast<size_t>(j * k_ + c)] = c < used_ ? scale * next() : 0.0f;
  }
}

int64_t ThinSvd::piece_begin(int64_t p, int64_t unit) const {
  return std::min(rows_, (rows_ * p / pieces_) / unit * unit);
}

void ThinSvd::begin_pass() { std::fill(zt_.begin(), zt_.end(), 0.0f); }

void ThinSvd::add_panel(int64_t p, const float* e, int64_t row, int64_t count) {
  float* y = y_.data() + row * k_;
  kernels().thin_right(e, v_.data(), y, count, cols_, k_);
  float* zt = zt_.data() + p * k_ * cols_;
  if (row_squared_.empty()) {
    kernels().thin_left(e, y, zt, count, cols_, k_);
    return;
  }
  thread_local std::vector<float> weighted;
  weighted.resize(static_cast<size_t>(count * k_));
  for (int64_t i = 0; i < count; ++i) {
    const float d = row_squared_[static_cast<size_t>(row + i)];
    for (int64_t c = 0; c < k_; ++c) weighted[static_cast<size_t>(i * k_ + c)] = d * y[i * k_ + c];
  }
  kernels().thin_left(e, weighted.data(), zt, count, cols_, k_);
}

void ThinSvd::finish(float* l1, float* l2) {
  const size_t kk = static_cast<size_t>(k_ * k_);
  float* zt = zt_.data();
  for (int64_t p = 1; p < pieces_; ++p) {
    const float* other = zt_.data() + p * k_ * cols_;
    parallel_for(0, k_ * cols_, 1 << 16, [&](int64_t b, int64_t e) {
      for (int64_t i = b; i < e; ++i) zt[i] += other[i];
    });
  }
  // G = V'^T Z and Z^T Z with D_col in between, over runs of columns: fp32 inside, double across.
  std::vector<double> g(kk), h0(kk);
  std::vector<float> part(kk);
  constexpr int64_t kRun = 1024;
  const auto accumulate = [&](std::vector<double>& into) {
    for (size_t i = 0; i < kk; ++i) into[i] += static_cast<double>(part[i]);
  };
  for (int64_t b = 0; b < cols_; b += kRun) {
    const int64_t n = std::min(kRun, cols_ - b);
    sgemm(true, true, k_, k_, n, 1.0f, v_.data() + b * k_, k_, zt + b, cols_, 0.0f, part.data(), k_);
    accumulate(g);
    const float* z = zt + b;
    int64_t ld = cols_;
    if (!col_scale_.empty()) {
      wide_.resize(static_cast<size_t>(k_ * kRun));
      for (int64_t c = 0; c < k_; ++c) {
        for (int64_t j = 0; j < n; ++j) {
          wide_[static_cast<size_t>(c * kRun + j)] = zt[c * cols_ + b + j] * col_scale_[static_cast<size_t>(b + j)];
        }
      }
      z = wide_.data();
      ld = kRun;
    }
    sgemm(false, true, k_, k_, n, 1.0f, z, ld, z, ld, 0.0f, part.data(), k_);
    accumulate(h0);
  }
  for (int64_t i = 0; i < k_; ++i) {
    for (int64_t j = i + 1; j < k_; ++j) {
      const double mean = (g[static_cast<size_t>(i * k_ + j)] + g[static_cast<size_t>(j * k_ + i)]) / 2;
      g[static_cast<size_t>(i * k_ + j)] = g[static_cast<size_t>(j * k_ + i)] = mean;
    }
  }
  std::vector<double> inverse, h(kk), half(kk), u(kk), values(static_cast<size_t>(k_));
  inverse_cholesky(g, k_, inverse);
  // h = R^-T (Z^T Z) R^-1, R^-1 upper triangular.
  for (int64_t i = 0; i < k_; ++i) {
    for (int64_t p = 0; p < k_; ++p) {
      const double x = h0[static_cast<size_t>(i * k_ + p)];
      for (int64_t j = p; j < k_; ++j)
        half[static_cast<size_t>(i * k_ + j)] += x * inverse[static_cast<size_t>(p * k_ + j)];
    }
  }
  for (int64_t p = 0; p < k_; ++p) {
    for (int64_t i = p; i < k_; ++i) {
      const double x = inverse[static_cast<size_t>(p * k_ + i)];
      for (int64_t j = 0; j < k_; ++j) h[static_cast<size_t>(i * k_ + j)] += x * half[static_cast<size_t>(p * k_ + j)];
    }
  }
  if (k_ <= kJacobiSize) {
    jacobi(h, k_, u);
    for (int64_t i = 0; i < k_; ++i) values[static_cast<size_t>(i)] = h[static_cast<size_t>(i * k_ + i)];
  } else {
    u = h;
    symmetric_eigen(k_, u.data(), values.data(), true);
  }
  // u holds eigenvectors in rows. Order by descending value.
  std::vector<int64_t> order(static_cast<size_t>(k_));
  for (int64_t i = 0; i < k_; ++i) order[static_cast<size_t>(i)] = i;
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return values[static_cast<size_t>(a)] > values[static_cast<size_t>(b)];
  });
  singular_.assign(static_cast<size_t>(k_), 0.0);
  // m = R^-1 U, columns in that order.
  std::vector<double> m(kk);
  for (int64_t c = 0; c < k_; ++c) {
    const int64_t from = order[static_cast<size_t>(c)];
    singular_[static_cast<size_t>(c)] = std::sqrt(std::max(0.0, values[static_cast<size_t>(from)]));
    for (int64_t i = 0; i < k_; ++i) {
      double sum = 0;
      for (int64_t j = i; j < k_; ++j)
        sum += inverse[static_cast<size_t>(i * k_ + j)] * u[static_cast<size_t>(from * k_ + j)];
      m[static_cast<size_t>(i * k_ + c)] = sum;
    }
  }
  const double floor = singular_[0] * 1e-7;
  const auto scaled = [&](int64_t columns, double power, bool transposed) {
    thin_.assign(static_cast<size_t>(k_ * columns), 0.0f);
    for (int64_t c = 0; c < columns && c < k_; ++c) {
      const double sigma = singular_[static_cast<size_t>(c)];
      const double factor = sigma > floor ? std::pow(sigma, power) : 0.0;
      for (int64_t i = 0; i < k_; ++i) {
        const size_t to = static_cast<size_t>(transposed ? c * k_ + i : i * columns + c);
        thin_[to] = static_cast<float>(m[static_cast<size_t>(i * k_ + c)] * factor);
      }
    }
  };
  scaled(rank_, 0.5, false);
  parallel_for(0, rows_, 1024, [&](int64_t b, int64_t e) {
    kernels().add_low_rank(nullptr, y_.data() + b * k_, thin_.data(), l1 + b * rank_, e - b, rank_, k_, false);
  });
  scaled(rank_, -0.5, true);
  parallel_for(0, rank_, 4, [&](int64_t b, int64_t e) {
    kernels().add_low_rank(nullptr, thin_.data() + b * k_, zt, l2 + b * cols_, e - b, cols_, k_, false);
  });
  // The next basis, V' = D_col^2 Z R^-1 U Sigma^-1.
  scaled(k_, -1.0, true);
  wide_.resize(static_cast<size_t>(k_ * cols_));
  parallel_for(0, k_, 4, [&](int64_t b, int64_t e) {
    kernels().add_low_rank(nullptr, thin_.data() + b * k_, zt, wide_.data() + b * cols_, e - b, cols_, k_, false);
  });
  parallel_for(0, cols_, 512, [&](int64_t b, int64_t e) {
    for (int64_t j = b; j < e; ++j) {
      const float d = col_scale_.empty() ? 1.0f : col_scale_[static_cast<size_t>(j)];
      for (int64_t c = 0; c < k_; ++c) {
        v_[static_cast<size_t>(j * k_ + c)] = wide_[static_cast<size_t>(c * cols_ + j)] * (d * d);
      }
    }
  });
}

bool exact_factors(const float* e, int64_t rows, int64_t cols, const float* row_scale, const float* col_scale,
                   int64_t rank, float* l1, float* l2) {
  const int64_t p = std::min(rows, cols);
  std::vector<double> a(static_cast<size_t>(rows * cols)), s(static_cast<size_t>(p));
  std::vector<double> u(static_cast<size_t>(rows * p)), vt(static_cast<size_t>(p * cols));
  const auto row = [&](int64_t i) { return row_scale != nullptr ? static_cast<double>(row_scale[i]) : 1.0; };
  const auto col = [&](int64_t j) { return col_scale != nullptr ? static_cast<double>(col_scale[j]) : 1.0; };
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) a[static_cast<size_t>(i * cols + j)] = row(i) * e[i * cols + j] * col(j);
  }
  if (!thin_svd(rows, cols, a.data(), s.data(), u.data(), vt.data())) return false;
  for (int64_t c = 0; c < rank; ++c) {
    const double root = c < p ? std::sqrt(s[static_cast<size_t>(c)]) : 0.0;
    for (int64_t i = 0; i < rows; ++i) {
      l1[i * rank + c] = c < p ? static_cast<float>(u[static_cast<size_t>(i * p + c)] * root / row(i)) : 0.0f;
    }
    for (int64_t j = 0; j < cols; ++j) {
      l2[c * cols + j] = c < p ? static_cast<float>(vt[static_cast<size_t>(c * cols + j)] * root / col(j)) : 0.0f;
    }
  }
  return true;
}

bool use_exact(int64_t rows, int64_t cols, int64_t rank, int64_t oversampling) {
  const int64_t p = std::min(rows, cols);
  return p <= 64 || basis_columns(rank, oversampling) >= p;
}

}  // namespace lq::cpu
