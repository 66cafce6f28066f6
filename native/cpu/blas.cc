#include "blas.h"

#include <cblas.h>
#include <lapacke.h>

#include <string>

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

const char* blas_description() {
  static const std::string description =
      std::string(scipy_openblas_get_config()) + ", " + scipy_openblas_get_corename();
  return description.c_str();
}

}  // namespace lq::cpu
