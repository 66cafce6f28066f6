// Rank-r factorisation by subspace iteration, arranged so that one pass over the matrix is one full iteration.
//
// With A = D_row E D_col, an iteration takes a basis V to Y = A V and Z = A^T Y, both accumulated panel by panel while
// the panel is in cache. Then G = V^T Z = Y^T Y has the Cholesky factor R, Y R^-1 is orthonormal, B = R^-T Z^T = (Y
// R^-1)^T A is the projection of A on it, and the eigenvectors U of B B^T = R^-T (Z^T Z) R^-1 give the singular
// triplets:
//   U_A = Y R^-1 U,  Sigma^2 = eigenvalues,  V_A = Z R^-1 U Sigma^-1,
// which is also the next basis. Because the columns of V are the previous singular vectors, the Gram matrices are
// nearly diagonal and fp32 products suffice; the small matrices are worked on in double.
//
// The diagonal scalings touch thin matrices only: V is kept as V' = D_col V, rows of Y are weighted by D_row^2 on the
// way into Z, and the factors D_row^-1 U_A, V_A^T D_col^-1 come out without a division by either.
#pragma once

#include <vector>

#include "kernels/kernels.h"
#include "lq/types.h"

namespace lq::cpu {

class ThinSvd {
 public:
  // Scales may be null. The basis has rank + oversampling columns, to the kernels' width (see basis_columns), of which
  // at most min(rows, cols) are used.
  ThinSvd(int64_t rows, int64_t cols, const float* row_scale, const float* col_scale, int64_t rank,
          int64_t oversampling);

  void start_random(uint64_t seed);
  void start_from(const ThinSvd& other) { v_ = other.v_; }

  // Row ranges whose contributions to Z are accumulated apart and added in order, so that the result does not depend on
  // the number of threads. Panels of piece p must be passed in order.
  int64_t pieces() const { return pieces_; }
  int64_t piece_begin(int64_t p, int64_t unit) const;

  void begin_pass();
  // Rows [row, row + count) of E, belonging to piece p. Different pieces may be fed at once.
  void add_panel(int64_t p, const float* e, int64_t row, int64_t count);
  // Ends the iteration: l1 [rows, rank], l2 [rank, cols] with D_row (l1 l2) D_col the best rank-r approximation of A in
  // the subspace. Singular values, descending, in `singular`.
  void finish(float* l1, float* l2);

  const std::vector<double>& singular() const { return singular_; }

 private:
  int64_t rows_, cols_, rank_, used_, k_, pieces_;
  std::vector<float> row_squared_, col_scale_;
  std::vector<float> v_;   // [cols, k], D_col V
  std::vector<float> y_;   // [rows, k], E V'
  std::vector<float> zt_;  // [pieces, k, cols], (D_row^2 Y)^T E
  std::vector<float> thin_, wide_;
  std::vector<double> singular_;
};

// Columns of the basis: a multiple of kThin with at least three quarters of the oversampling. At rank 8, 16 columns
// instead of 32 halve the time of a sweep; costs rise by 0.07 % on average.
constexpr int64_t basis_columns(int64_t rank, int64_t oversampling) {
  return round_up(rank + (3 * oversampling + 3) / 4, kThin);
}

// Exact counterpart in double for small matrices.
bool exact_factors(const float* e, int64_t rows, int64_t cols, const float* row_scale, const float* col_scale,
                   int64_t rank, float* l1, float* l2);

// Whether the exact factorisation is the one to use.
bool use_exact(int64_t rows, int64_t cols, int64_t rank, int64_t oversampling);

}  // namespace lq::cpu
