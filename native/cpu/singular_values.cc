// Few values of a large matrix come from subspace iteration, run until they settle; otherwise from the eigenvalues of
// the Gram matrix of the shorter side, summed in double so that the small ones are exact to 1e-8 of the largest.
#include "singular_values.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <vector>

#include "blas.h"
#include "prepared.h"
#include "status.h"
#include "thin_svd.h"
#include "threads.h"

namespace lq::cpu {
namespace {

// Gram matrices up to this side are always formed: 32 MiB, a few seconds.
constexpr int64_t kGramSide = 2048;
constexpr int32_t kMostPasses = 60;

Status from_gram(const MatrixView& m, int32_t count, double* out, const Control& control) {
  const FloatRows rows(m);
  const bool wide = m.cols > m.rows;
  const int64_t p = std::min(m.rows, m.cols);
  std::vector<double> gram(static_cast<size_t>(p * p));
  // The Gram matrix is cut in tiles, each summed over the long side by one thread.
  constexpr int64_t kTile = 256;
  const int64_t tiles = (p + kTile - 1) / kTile;
  std::vector<std::pair<int64_t, int64_t>> work;
  for (int64_t i = 0; i < tiles; ++i) {
    for (int64_t j = 0; j <= i; ++j) work.emplace_back(i * kTile, j * kTile);
  }
  std::atomic<bool> stopped = false;
  std::mutex mutex;
  int64_t done = 0;
  parallel_for(0, static_cast<int64_t>(work.size()), 1, [&](int64_t w, int64_t) {
    const auto [i0, j0] = work[static_cast<size_t>(w)];
    const int64_t ni = std::min(kTile, p - i0), nj = std::min(kTile, p - j0);
    const int64_t length = wide ? m.cols : m.rows;
    constexpr int64_t kRun = 512;
    std::vector<float> row;
    std::vector<double> a(static_cast<size_t>(kTile * kRun)), b(a.size()), c(static_cast<size_t>(ni * nj));
    for (int64_t l = 0; l < length; l += kRun) {
      if (stopped || is_cancelled(control)) {
        stopped = true;
        return;
      }
      const int64_t n = std::min(kRun, length - l);
      const auto gather = [&](std::vector<double>& to, int64_t begin, int64_t lines) {
        if (wide) {  // lines are rows, [lines, n]
          for (int64_t i = 0; i < lines; ++i) {
            row.resize(static_cast<size_t>(n));
            to_float(m.data, m.dtype, (begin + i) * m.cols + l, n, row.data());
            std::copy(row.begin(), row.end(), to.begin() + i * n);
          }
        } else {  // lines are columns, [n, lines]
          for (int64_t i = 0; i < n; ++i) {
            row.resize(static_cast<size_t>(lines));
            to_float(m.data, m.dtype, (l + i) * m.cols + begin, lines, row.data());
            std::copy(row.begin(), row.end(), to.begin() + i * lines);
          }
        }
      };
      gather(a, i0, ni);
      gather(b, j0, nj);
      dgemm(!wide, wide, ni, nj, n, a.data(), wide ? n : ni, b.data(), wide ? n : nj, c.data(), nj);
    }
    for (int64_t i = 0; i < ni; ++i) {
      for (int64_t j = 0; j < nj; ++j) {
        gram[static_cast<size_t>((i0 + i) * p + j0 + j)] = gram[static_cast<size_t>((j0 + j) * p + i0 + i)] =
            c[static_cast<size_t>(i * nj + j)];
      }
    }
    std::lock_guard<std::mutex> lock(mutex);
    report(control, static_cast<double>(++done), static_cast<double>(work.size() + 1));
  });
  if (stopped) return cancelled();
  std::vector<double> values(static_cast<size_t>(p));
  if (!symmetric_eigen(p, gram.data(), values.data(), false)) {
    return error(StatusCode::internal, -1, "the eigenvalue iteration did not converge");
  }
  for (int32_t i = 0; i < count; ++i) {
    out[i] = i < p ? std::sqrt(std::max(0.0, values[static_cast<size_t>(p - 1 - i)])) : 0.0;
  }
  return ok();
}

Status from_subspace(const MatrixView& m, int32_t count, uint64_t seed, double* out, const Control& control) {
  const FloatRows rows(m);
  ThinSvd svd(m.rows, m.cols, nullptr, nullptr, count, std::max(16, count / 3));
  svd.start_random(seed);
  std::vector<float> l1(static_cast<size_t>(m.rows * count)), l2(static_cast<size_t>(m.cols * count));
  std::vector<double> before;
  const int64_t unit = panels_of(m.rows, m.cols, 1).panel_rows;
  for (int32_t pass = 0; pass < kMostPasses; ++pass) {
    svd.begin_pass();
    parallel_for(0, svd.pieces(), 1, [&](int64_t p, int64_t) {
      thread_local std::vector<float> scratch;
      const int64_t end = svd.piece_begin(p + 1, 1);
      for (int64_t b = svd.piece_begin(p, 1); b < end && !is_cancelled(control); b += unit) {
        const int64_t e = std::min(end, b + unit);
        svd.add_panel(p, rows.rows(b, e, scratch), b, e - b);
      }
    });
    if (is_cancelled(control)) return cancelled();
    svd.finish(l1.data(), l2.data());
    report(control, pass + 1, kMostPasses);
    double change = before.empty() ? 1.0 : 0.0;
    for (size_t i = 0; i < before.size() && i < static_cast<size_t>(count); ++i) {
      change = std::max(change, std::abs(svd.singular()[i] - before[i]) / std::max(svd.singular()[0], 1e-300));
    }
    before = svd.singular();
    // Ritz values converge linearly from below: a change this small leaves less than ten times as much to come.
    if (change < 5e-6) break;
  }
  std::copy(before.begin(), before.begin() + count, out);
  return ok();
}

}  // namespace

Status singular_values(const MatrixView& m, int32_t count, uint64_t seed, double* out, const Control& control) {
  const Status status = check_matrix(m);
  if (failed(status)) return status;
  if (count < 1) return error(StatusCode::invalid_argument, -1, "the number of singular values must be at least 1");
  const int64_t bad = first_non_finite(m);
  if (bad >= 0) return not_finite(bad);
  const int64_t p = std::min(m.rows, m.cols);
  if (p <= kGramSide || 4 * static_cast<int64_t>(count) > p) return from_gram(m, count, out, control);
  return from_subspace(m, count, seed, out, control);
}

}  // namespace lq::cpu
