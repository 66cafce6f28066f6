// OpenBLAS, held to one thread: callers split the work over the pool themselves.
#pragma once

#include <cstdint>

namespace lq::cpu {

// Row-major C [m, n] = alpha op(A) op(B) + beta C, with leading dimensions.
void sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
           int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc);

// The same in double, adding to C.
void dgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const double* a, int64_t lda,
           const double* b, int64_t ldb, double* c, int64_t ldc);

// Eigenvalues, ascending, of the symmetric a [n, n] (lower triangle), which is overwritten: with the eigenvectors in
// its rows when `vectors`. False when the iteration did not converge.
bool symmetric_eigen(int64_t n, double* a, double* values, bool vectors);

// Thin singular value decomposition of a [m, n], row-major: u [m, p], s [p], vt [p, n] with p = min(m, n). a is
// overwritten.
bool thin_svd(int64_t m, int64_t n, double* a, double* s, double* u, double* vt);

// The lower Cholesky factor of the symmetric a [n, n] (its lower triangle), in place, over the pool; what is above the
// diagonal is left alone. False when a is not positive definite.
bool cholesky(int64_t n, double* a);

// x [rows, n] becomes x (L L')^-1 for the lower L [n, n].
void cholesky_solve(int64_t rows, int64_t n, const double* l, double* x);

// x [rows, n] becomes x U^-1 for the upper U [n, n] with leading dimension ldu; x has leading dimension ldx.
void solve_upper(int64_t rows, int64_t n, const double* u, int64_t ldu, double* x, int64_t ldx);

// x [rows, n] becomes x U^-1 for the upper U [n, n] with ones, not stored, on its diagonal; leading dimensions ldu,
// ldx.
void solve_unit_upper(int64_t rows, int64_t n, const float* u, int64_t ldu, float* x, int64_t ldx);

// What OpenBLAS says of itself: version, kernel chosen for this processor.
const char* blas_description();

}  // namespace lq::cpu
