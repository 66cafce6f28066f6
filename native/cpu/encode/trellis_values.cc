#include "encode/trellis_values.h"

#include <algorithm>
#include <cmath>

namespace lq::cpu {
namespace {

// Coefficients in ascending powers, by Horner's rule.
template <size_t n>
double polynomial(const double (&coefficients)[n], double x) {
  double sum = 0;
  for (size_t i = n; i-- > 0;) sum = sum * x + coefficients[i];
  return sum;
}

constexpr double kCentralNumerator[] = {3.387132872796366608,    1.3314166789178437745e2, 1.9715909503065514427e3,
                                        1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
                                        3.3430575583588128105e4, 2.5090809287301226727e3};
constexpr double kCentralDenominator[] = {1,
                                          4.2313330701600911252e1,
                                          6.871870074920579083e2,
                                          5.3941960214247511077e3,
                                          2.1213794301586595867e4,
                                          3.930789580009271061e4,
                                          2.8729085735721942674e4,
                                          5.226495278852854561e3};
constexpr double kTailNumerator[] = {1.42343711074968357734,    4.6303378461565452959,   5.7694972214606914055,
                                     3.64784832476320460504,    1.27045825245236838258,  2.4178072517745061177e-1,
                                     2.27238449892691845833e-2, 7.7454501427834140764e-4};
constexpr double kTailDenominator[] = {1,
                                       2.05319162663775882187,
                                       1.6763848301838038494,
                                       6.8976733498510000455e-1,
                                       1.4810397642748007459e-1,
                                       1.51986665636164571966e-2,
                                       5.475938084995344946e-4,
                                       1.05075007164441684324e-9};
constexpr double kFarNumerator[] = {6.6579046435011037772,     5.4637849111641143699,    1.7848265399172913358,
                                    2.9656057182850489123e-1,  2.6532189526576123093e-2, 1.2426609473880784386e-3,
                                    2.71155556874348757815e-5, 2.01033439929228813265e-7};
constexpr double kFarDenominator[] = {1,
                                      5.9983220655588793769e-1,
                                      1.3692988092273580531e-1,
                                      1.48753612908506148525e-2,
                                      7.868691311456132591e-4,
                                      1.8463183175100546818e-5,
                                      1.4215117583164458887e-7,
                                      2.04426310338993978564e-15};

// A permutation of the integers of n bits.
uint32_t mix(uint32_t x, int32_t n, uint32_t a, uint32_t b) {
  if (n < 2) return x;
  const uint32_t mask = (1u << n) - 1;
  const int32_t half = n / 2;
  x = x * a & mask;
  x ^= x >> half;
  x = x * b & mask;
  x ^= x >> half;
  x = x * a & mask;
  return x ^ (x >> half);
}

// The nearest value of fp16, ties to even.
float round_to_half(float x) {
  int exponent;
  std::frexp(x, &exponent);
  const float step = std::ldexp(1.0f, std::max(exponent - 11, -24));
  return std::nearbyint(x / step) * step;
}

}  // namespace

double inverse_normal(double p) {
  const double q = p - 0.5;
  if (std::abs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * polynomial(kCentralNumerator, r) / polynomial(kCentralDenominator, r);
  }
  const double r = std::sqrt(-std::log(q < 0 ? p : 1 - p));
  const double tail = r <= 5 ? polynomial(kTailNumerator, r - 1.6) / polynomial(kTailDenominator, r - 1.6)
                             : polynomial(kFarNumerator, r - 5) / polynomial(kFarDenominator, r - 5);
  return q < 0 ? -tail : tail;
}

std::vector<float> trellis_values(int32_t states, int32_t bits) {
  const uint32_t count = 1u << states;
  std::vector<double> quantiles(count);
  double squares = 0;
  for (uint32_t i = 0; i < count; ++i) {
    quantiles[i] = inverse_normal((i + 0.5) / count);
    squares += quantiles[i] * quantiles[i];
  }
  const double sigma = std::sqrt(squares / count);
  const int32_t rest = states - bits;
  std::vector<float> values(count);
  for (uint32_t s = 0; s < count; ++s) {
    const uint32_t p = s & ((1u << rest) - 1), u = s >> rest;
    const uint32_t stratum = (u ^ mix(p, rest, 0xC2B2AE35u, 0x27D4EB2Fu)) & ((1u << bits) - 1);
    const uint32_t r = stratum << rest | mix(p, rest, 0x9E3779B1u, 0x85EBCA6Bu);
    values[s] = round_to_half(static_cast<float>(quantiles[r] / sigma));
  }
  return values;
}

double scale_margin(const EncodeOption& option) {
  return 1 + 0.08 * std::clamp(0.6 * (static_cast<double>(option.bits) / option.step - 1), 0.0, 1.0);
}

std::vector<float> gaussian_sample() {
  std::vector<float> out(static_cast<size_t>(kSampleTiles * kTileSide * kTileSide));
  uint64_t z = 1;
  for (float& x : out) {
    z = z * 6364136223846793005u + 1442695040888963407u;
    x = static_cast<float>(inverse_normal((static_cast<double>(z >> 40) + 0.5) / (1 << 24)));
  }
  return out;
}

}  // namespace lq::cpu
