#include "linalg/small.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>

#include "runtime/status.h"

namespace lq::cuda {
namespace {

// Householder reduction to tridiagonal form: a becomes T = H' a H with `diagonal` and `below` (below[i] couples i and i
// + 1). With `h`, it receives the accumulated H, row-major.
void tridiagonalize(std::vector<double>& a, int n, std::vector<double>& diagonal, std::vector<double>& below,
                    std::vector<double>* h) {
  std::vector<std::vector<double>> reflectors;
  std::vector<double> p(static_cast<size_t>(n));
  for (int k = 0; k + 2 < n; ++k) {
    // v reflects a[k+1.., k] onto its first entry.
    std::vector<double> v(static_cast<size_t>(n), 0.0);
    double norm = 0.0;
    for (int i = k + 1; i < n; ++i) {
      v[i] = a[static_cast<size_t>(i) * n + k];
      norm += v[i] * v[i];
    }
    norm = std::sqrt(norm);
    if (norm == 0.0) {
      reflectors.emplace_back();
      continue;
    }
    v[k + 1] += v[k + 1] >= 0.0 ? norm : -norm;
    double square = 0.0;
    for (int i = k + 1; i < n; ++i) square += v[i] * v[i];
    const double scale = std::sqrt(2.0 / square);
    for (int i = k + 1; i < n; ++i) v[i] *= scale;
    // a <- (I - v v') a (I - v v') = a - v q' - q v'.
    double dot = 0.0;
    for (int i = k; i < n; ++i) {
      const double* row = &a[static_cast<size_t>(i) * n];
      double sum = 0.0;
      for (int j = k + 1; j < n; ++j) sum += row[j] * v[j];
      p[i] = sum;
      dot += sum * v[i];
    }
    for (int i = k; i < n; ++i) p[i] -= 0.5 * dot * v[i];
    for (int i = k; i < n; ++i) {
      double* row = &a[static_cast<size_t>(i) * n];
      for (int j = k; j < n; ++j) row[j] -= v[i] * p[j] + p[i] * v[j];
    }
    reflectors.push_back(h != nullptr ? std::move(v) : std::vector<double>());
  }
  diagonal.resize(static_cast<size_t>(n));
  below.assign(static_cast<size_t>(n), 0.0);
  for (int i = 0; i < n; ++i) {
    diagonal[i] = a[static_cast<size_t>(i) * n + i];
    if (i + 1 < n) below[i] = a[static_cast<size_t>(i + 1) * n + i];
  }
  if (h == nullptr) return;
  h->assign(static_cast<size_t>(n) * n, 0.0);
  for (int i = 0; i < n; ++i) (*h)[static_cast<size_t>(i) * n + i] = 1.0;
  for (int k = static_cast<int>(reflectors.size()) - 1; k >= 0; --k) {
    const std::vector<double>& v = reflectors[k];
    if (v.empty()) continue;
    std::fill(p.begin(), p.end(), 0.0);
    for (int i = k + 1; i < n; ++i) {
      for (int j = 0; j < n; ++j) p[j] += v[i] * (*h)[static_cast<size_t>(i) * n + j];
    }
    for (int i = k + 1; i < n; ++i) {
      for (int j = 0; j < n; ++j) (*h)[static_cast<size_t>(i) * n + j] -= v[i] * p[j];
    }
  }
}

// Implicit QL iteration with Wilkinson's shift on a tridiagonal matrix; rotations are applied to the columns of
// `vectors`, kept transposed so that they are contiguous.
void diagonalize(std::vector<double>& d, std::vector<double>& e, int n, std::vector<double>* columns) {
  constexpr int kMaxSweeps = 60;
  for (int low = 0; low < n; ++low) {
    for (int sweep = 0;; ++sweep) {
      int end = low;
      for (; end + 1 < n; ++end) {
        const double scale = std::fabs(d[end]) + std::fabs(d[end + 1]);
        if (std::fabs(e[end]) <= std::numeric_limits<double>::epsilon() * scale) break;
      }
      if (end == low) break;
      if (sweep == kMaxSweeps) fail(StatusCode::internal, "an eigenvalue did not converge");
      double g = (d[low + 1] - d[low]) / (2.0 * e[low]);
      double r = std::hypot(g, 1.0);
      g = d[end] - d[low] + e[low] / (g + std::copysign(r, g));
      double s = 1.0, c = 1.0, p = 0.0;
      int i = end - 1;
      for (; i >= low; --i) {
        const double f = s * e[i];
        const double b = c * e[i];
        r = std::hypot(f, g);
        e[i + 1] = r;
        if (r == 0.0) {
          d[i + 1] -= p;
          e[end] = 0.0;
          break;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1] - p;
        r = (d[i] - g) * s + 2.0 * c * b;
        p = s * r;
        d[i + 1] = g + p;
        g = c * r - b;
        if (columns != nullptr) {
          double* left = &(*columns)[static_cast<size_t>(i) * n];
          double* right = left + n;
          for (int k = 0; k < n; ++k) {
            const double moved = right[k];
            right[k] = s * left[k] + c * moved;
            left[k] = c * left[k] - s * moved;
          }
        }
      }
      if (r == 0.0 && i >= low) continue;
      d[low] -= p;
      e[low] = g;
      e[end] = 0.0;
    }
  }
}

}  // namespace

std::vector<double> inverse_cholesky(std::vector<double> g, int n) {
  std::vector<double> scale(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) {
    const double square = g[static_cast<size_t>(i) * n + i];
    scale[i] = square > 0.0 ? 1.0 / std::sqrt(square) : 0.0;
  }
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) g[static_cast<size_t>(i) * n + j] *= scale[i] * scale[j];
  }
  // Elimination on [g | I]; the diagonal starts at 1, and fp32 columns leave about 1e-13 of one that is dependent.
  constexpr double kDependent = 1e-12;
  std::vector<double> m(static_cast<size_t>(n) * n, 0.0);
  for (int k = 0; k < n; ++k) {
    double* pivot_row = &m[static_cast<size_t>(k) * n];
    const double pivot = g[static_cast<size_t>(k) * n + k];
    pivot_row[k] = 1.0;
    if (pivot <= kDependent) {
      std::fill(pivot_row, pivot_row + n, 0.0);
      continue;
    }
    for (int i = k + 1; i < n; ++i) {
      const double factor = g[static_cast<size_t>(i) * n + k] / pivot;
      for (int j = k + 1; j < n; ++j) g[static_cast<size_t>(i) * n + j] -= factor * g[static_cast<size_t>(k) * n + j];
      for (int j = 0; j <= k; ++j) m[static_cast<size_t>(i) * n + j] -= factor * pivot_row[j];
    }
    const double root = 1.0 / std::sqrt(pivot);
    for (int j = 0; j <= k; ++j) pivot_row[j] *= root * scale[j];
  }
  return m;
}

std::vector<double> symmetric_eigenvalues(std::vector<double> a, int n, std::vector<double>* vectors) {
  std::vector<double> d, e, h, columns;
  tridiagonalize(a, n, d, e, vectors != nullptr ? &h : nullptr);
  if (vectors != nullptr) {
    columns.resize(static_cast<size_t>(n) * n);
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j < n; ++j) columns[static_cast<size_t>(j) * n + i] = h[static_cast<size_t>(i) * n + j];
    }
  }
  diagonalize(d, e, n, vectors != nullptr ? &columns : nullptr);
  std::vector<int> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int x, int y) { return d[x] > d[y]; });
  std::vector<double> sorted(static_cast<size_t>(n));
  if (vectors != nullptr) vectors->resize(static_cast<size_t>(n) * n);
  for (int j = 0; j < n; ++j) {
    sorted[j] = d[order[j]];
    if (vectors == nullptr) continue;
    for (int i = 0; i < n; ++i) {
      (*vectors)[static_cast<size_t>(i) * n + j] = columns[static_cast<size_t>(order[j]) * n + i];
    }
  }
  return sorted;
}

}  // namespace lq::cuda
