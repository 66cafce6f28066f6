// Dense symmetric problems of a few hundred rows, on the host in fp64.
#pragma once

#include <vector>

namespace lq::cuda {

// Lower-triangular inverse of the Cholesky factor of the Gram matrix g [n, n]: with Y'Y = g, the columns of Y M' are
// orthonormal for the result M. Rows of columns that depend on those before them are zero.
std::vector<double> inverse_cholesky(std::vector<double> g, int n);

// Eigenvalues of the symmetric matrix a [n, n], descending. With `vectors`, it receives the eigenvectors as columns.
std::vector<double> symmetric_eigenvalues(std::vector<double> a, int n, std::vector<double>* vectors);

}  // namespace lq::cuda
