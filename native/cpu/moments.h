// Power sums that hold at every magnitude: what statistics of a matrix are added up from.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace lq::cpu {

// Elements enter sums as x * scale - pivot. The scale is a power of two that brings typical elements near 1, so that
// neither squares nor fourth powers leave the range of the type they are added up in.
struct Frame {
  double scale = 1;
  double pivot = 0;
};

// A sum of squares of doubles without overflow or underflow: squares of very small and very large numbers are kept
// apart and scaled (J. Blue, "A Portable Fortran Program to Find the Euclidean Norm of a Vector", 1978; constants for
// binary64 as in LAPACK's dnrm2).
struct SquareSum {
  double small = 0, mid = 0, big = 0;

  void add(double v) {
    const double a = std::fabs(v);
    if (a > 0x1p486) {
      big += (a * 0x1p-538) * (a * 0x1p-538);
    } else if (a < 0x1p-511) {
      small += (a * 0x1p537) * (a * 0x1p537);
    } else {
      mid += a * a;
    }
  }
  void add(const SquareSum& o) {
    small += o.small;
    mid += o.mid;
    big += o.big;
  }
  double norm() const {
    if (big > 0) return std::sqrt(big + mid * 0x1p-538 * 0x1p-538) * 0x1p538;
    return small > 0 ? std::hypot(std::sqrt(mid), std::sqrt(small) * 0x1p-537) : std::sqrt(mid);
  }
};

// Moments in a frame, extremes as stored; merged exactly, in double.
struct Moments {
  double n = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0;
  double min = std::numeric_limits<double>::infinity(), max = -std::numeric_limits<double>::infinity();
  int64_t zeros = 0, nans = 0, infs = 0, first_nan = -1, first_inf = -1;

  void add(const Moments& o) {
    n += o.n;
    s1 += o.s1;
    s2 += o.s2;
    s3 += o.s3;
    s4 += o.s4;
    min = std::min(min, o.min);
    max = std::max(max, o.max);
    zeros += o.zeros;
    nans += o.nans;
    infs += o.infs;
    const auto first = [](int64_t a, int64_t b) { return a < 0 ? b : b < 0 ? a : std::min(a, b); };
    first_nan = first(first_nan, o.first_nan);
    first_inf = first(first_inf, o.first_inf);
  }

  // One element, `index` its place in the matrix. False for a NaN or an Inf, which is counted and left out of the sums.
  bool add(double v, int64_t index, const Frame& frame) {
    if (std::isnan(v)) {
      ++nans;
      if (first_nan < 0) first_nan = index;
      return false;
    }
    if (std::isinf(v)) {
      ++infs;
      if (first_inf < 0) first_inf = index;
      return false;
    }
    const double d = v * frame.scale - frame.pivot, dd = d * d;
    n += 1;
    s1 += d;
    s2 += dd;
    s3 += dd * d;
    s4 += dd * dd;
    min = std::min(min, v);
    max = std::max(max, v);
    zeros += v == 0;
    return true;
  }

  double mean() const { return n > 0 ? s1 / n : 0; }  // of x * scale, less the pivot
  double variance() const {
    const double m1 = mean();
    return n > 0 ? std::max(0.0, s2 / n - m1 * m1) : 0;
  }
  double kurtosis() const {
    const double m1 = mean(), v = variance();
    if (!(v > 0)) return 0;
    return (s4 / n - 4 * m1 * (s3 / n) + 6 * m1 * m1 * (s2 / n) - 3 * m1 * m1 * m1 * m1) / (v * v);
  }
};

}  // namespace lq::cpu
