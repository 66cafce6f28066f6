#include "blas.h"

#include <cblas.h>
#include <lapacke.h>

#include <algorithm>
#include <string>

#include "threads.h"

namespace lq::cpu {
namespace {

// The number of threads is a property of the process; every entry sets it once.
void hold_to_one_thread() {
  static const bool done = [] {
    scipy_openblas_set_num_threads(1);
    return true;
  }();
  static_cast<void>(done);
}

}  // namespace

void sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
           int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  hold_to_one_thread();
  scipy_cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans,
                    static_cast<blasint>(m), static_cast<blasint>(n), static_cast<blasint>(k), alpha, a,
                    static_cast<blasint>(lda), b, static_cast<blasint>(ldb), beta, c, static_cast<blasint>(ldc));
}

void dgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const double* a, int64_t lda,
           const double* b, int64_t ldb, double* c, int64_t ldc) {
  hold_to_one_thread();
  scipy_cblas_dgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans,
                    static_cast<blasint>(m), static_cast<blasint>(n), static_cast<blasint>(k), 1.0, a,
                    static_cast<blasint>(lda), b, static_cast<blasint>(ldb), 1.0, c, static_cast<blasint>(ldc));
}

bool symmetric_eigen(int64_t n, double* a, double* values, bool vectors) {
  hold_to_one_thread();
  // Column-major on purpose: eigenvectors become columns there, rows here, and a symmetric matrix is its own transpose
  // (its lower triangle being the upper one).
  return scipy_LAPACKE_dsyevd(LAPACK_COL_MAJOR, vectors ? 'V' : 'N', 'U', static_cast<lapack_int>(n), a,
                              static_cast<lapack_int>(n), values) == 0;
}

bool thin_svd(int64_t m, int64_t n, double* a, double* s, double* u, double* vt) {
  hold_to_one_thread();
  const lapack_int p = static_cast<lapack_int>(m < n ? m : n);
  return scipy_LAPACKE_dgesdd(LAPACK_ROW_MAJOR, 'S', static_cast<lapack_int>(m), static_cast<lapack_int>(n), a,
                              static_cast<lapack_int>(n), s, u, p, vt, static_cast<lapack_int>(n)) == 0;
}

bool cholesky(int64_t n, double* a) {
  hold_to_one_thread();
  constexpr int64_t kBlock = 192;
  const blasint ld = static_cast<blasint>(n);
  for (int64_t k = 0; k < n; k += kBlock) {
    const int64_t width = std::min(kBlock, n - k), below = k + width;
    double* diagonal = a + k * n + k;
    // A row-major lower triangle is a column-major upper one.
    if (scipy_LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'U', static_cast<lapack_int>(width), diagonal, ld) != 0) return false;
    const int64_t blocks = (n - below + kBlock - 1) / kBlock;
    const auto height = [&](int64_t block) { return std::min(kBlock, n - below - block * kBlock); };
    parallel_for(0, blocks, 1, [&](int64_t block, int64_t) {
      scipy_cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit,
                        static_cast<blasint>(height(block)), static_cast<blasint>(width), 1.0, diagonal, ld,
                        a + (below + block * kBlock) * n + k, ld);
    });
    // Pairs (i, j) of blocks with j <= i, numbered row by row.
    parallel_for(0, blocks * (blocks + 1) / 2, 1, [&](int64_t pair, int64_t) {
      int64_t i = 0;
      while ((i + 1) * (i + 2) / 2 <= pair) ++i;
      const int64_t j = pair - i * (i + 1) / 2, row = below + i * kBlock, col = below + j * kBlock;
      scipy_cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<blasint>(height(i)),
                        static_cast<blasint>(height(j)), static_cast<blasint>(width), -1.0, a + row * n + k, ld,
                        a + col * n + k, ld, 1.0, a + row * n + col, ld);
    });
  }
  return true;
}

void cholesky_solve(int64_t rows, int64_t n, const double* l, double* x) {
  hold_to_one_thread();
  const blasint ld = static_cast<blasint>(n), m = static_cast<blasint>(rows);
  scipy_cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, m, ld, 1.0, l, ld, x, ld);
  scipy_cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit, m, ld, 1.0, l, ld, x, ld);
}

void solve_upper(int64_t rows, int64_t n, const double* u, int64_t ldu, double* x, int64_t ldx) {
  hold_to_one_thread();
  scipy_cblas_dtrsm(CblasRowMajor, CblasRight, CblasUpper, CblasNoTrans, CblasNonUnit, static_cast<blasint>(rows),
                    static_cast<blasint>(n), 1.0, u, static_cast<blasint>(ldu), x, static_cast<blasint>(ldx));
}

void solve_unit_upper(int64_t rows, int64_t n, const float* u, int64_t ldu, float* x, int64_t ldx) {
  hold_to_one_thread();
  scipy_cblas_strsm(CblasRowMajor, CblasRight, CblasUpper, CblasNoTrans, CblasUnit, static_cast<blasint>(rows),
                    static_cast<blasint>(n), 1.0f, u, static_cast<blasint>(ldu), x, static_cast<blasint>(ldx));
}

const char* blas_description() {
  static const std::string description =
      std::string(scipy_openblas_get_config()) + ", " + scipy_openblas_get_corename();
  return description.c_str();
}

}  // namespace lq::cpu
