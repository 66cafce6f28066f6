#include "encoding_reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "reference.h"
#include "suite.h"

namespace lq::contract {
namespace {

// Phi^-1 by bisection of erfc, for p <= 1/2 where erfc keeps its precision.
double quantile(double p) {
  if (p > 0.5) return -quantile(1 - p);
  double low = -10, high = 0;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (std::erfc(-middle / std::sqrt(2.0)) / 2 < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

double half_value(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return bits >> 15 != 0 ? -magnitude : magnitude;
}

double stored_half(const uint8_t* part, int64_t index) {
  uint16_t bits;
  std::memcpy(&bits, part + 2 * index, 2);
  return half_value(bits);
}

uint32_t mix(uint32_t x, int n, uint32_t a, uint32_t b) {
  if (n < 2) return x;
  const uint64_t size = uint64_t{1} << n;
  const int h = n / 2;
  uint64_t v = x;
  v = v * a % size;
  v ^= v >> h;
  v = v * b % size;
  v ^= v >> h;
  v = v * a % size;
  v ^= v >> h;
  return static_cast<uint32_t>(v);
}

std::vector<double> values_of(int states, int bits) {
  const int64_t count = int64_t{1} << states;
  std::vector<double> q(static_cast<size_t>(count)), out(q.size());
  double squares = 0;
  for (int64_t i = 0; i < count; ++i) {
    q[static_cast<size_t>(i)] = quantile((static_cast<double>(i) + 0.5) / static_cast<double>(count));
    squares += q[static_cast<size_t>(i)] * q[static_cast<size_t>(i)];
  }
  const double sigma = std::sqrt(squares / static_cast<double>(count));
  for (int64_t s = 0; s < count; ++s) {
    const int rest = states - bits;
    const uint32_t p = static_cast<uint32_t>(s) % (1u << rest), u = static_cast<uint32_t>(s) >> rest;
    const uint32_t stratum = (u ^ mix(p, rest, 0xC2B2AE35u, 0x27D4EB2Fu)) % (1u << bits);
    const uint32_t r = (stratum << rest) + mix(p, rest, 0x9E3779B1u, 0x85EBCA6Bu);
    out[static_cast<size_t>(s)] = half(static_cast<double>(static_cast<float>(q[r] / sigma)));
  }
  return out;
}

int64_t end_of(const EncodeOption& o, int64_t t) {
  return static_cast<int64_t>(std::floor(static_cast<double>((t + 1) * o.bits) / o.step));
}

// The states of a tile from its bits.
std::vector<uint32_t> states_of(const EncodedView& e, const uint8_t* codes, int64_t first_bit, int64_t tile,
                                int64_t weights) {
  const EncodeOption& o = e.option;
  const int64_t bits = end_of(o, weights - 1), width = o.states - o.bits / o.step;
  const auto bit = [&](int64_t at) -> uint32_t {
    if (at < 0 && !o.tail_biting) {
      return field(e.parts[static_cast<int>(EncodedPart::starts)], tile * width + width + at, 1);
    }
    while (at < 0) at += bits;
    return field(codes, first_bit + at, 1);
  };
  std::vector<uint32_t> states(static_cast<size_t>(weights), 0);
  for (int64_t t = 0; t < weights; ++t) {
    for (int64_t i = 0; i < o.states; ++i) states[static_cast<size_t>(t)] |= bit(end_of(o, t) - o.states + i) << i;
  }
  return states;
}

double exl3_value(uint32_t state, Exl3Code code) {
  if (code == Exl3Code::mul1) {
    const uint32_t x = state * 0x83DCD12Du;
    double sum = 1024;
    for (int i = 0; i < 4; ++i) sum += x >> (8 * i) & 255;
    return half(sum * half_value(0x1EEE) + half_value(0xC931));
  }
  uint32_t x = code == Exl3Code::mcg ? state * 0xCBAC1FEDu : state * 89226354u + 64248484u;
  x = (x & 0x8FFF8FFFu) ^ 0x3B603B60u;
  return half(half_value(static_cast<uint16_t>(x)) + half_value(static_cast<uint16_t>(x >> 16)));
}

// Sums and differences of a run of 128 numbers, each `step` after the other.
void hadamard_of_128(float* y, int64_t step) {
  for (int64_t h = 1; h < 128; h *= 2) {
    for (int64_t p = 0; p < 128; ++p) {
      if ((p & h) != 0) continue;
      const float sum = y[p * step] + y[(p + h) * step], difference = y[p * step] - y[(p + h) * step];
      y[p * step] = sum;
      y[(p + h) * step] = difference;
    }
  }
}

std::vector<float> decoded_exl3(const EncodedView& e) {
  const int64_t rows = e.rows, cols = e.cols, bits = e.option.bits, ring = 256 * bits;
  std::vector<float> w(static_cast<size_t>(rows * cols));
  for (int64_t i = 0; i < rows / 16; ++i) {
    for (int64_t j = 0; j < cols / 16; ++j) {
      const uint8_t* tile = e.parts[static_cast<int>(EncodedPart::codes)] + (j * (rows / 16) + i) * 32 * bits;
      for (int64_t t = 0; t < 256; ++t) {
        uint32_t state = 0;
        for (int64_t b = (t + 1) * bits - 16; b < (t + 1) * bits; ++b) {
          const int64_t at = (b + 2 * ring) % ring, place = 31 - at % 32;
          state = 2 * state + (tile[at / 32 * 4 + place / 8] >> place % 8 & 1u);
        }
        const int64_t l = t / 8, k = t % 8;
        const int64_t column = 2 * (l % 4) + k % 2 + 8 * (k / 2 % 2), row = l / 4 + 8 * (k / 4);
        w[static_cast<size_t>((16 * i + row) * cols + 16 * j + column)] =
            static_cast<float>(exl3_value(state, e.option.exl3_code));
      }
    }
  }
  const float c = static_cast<float>(1 / std::sqrt(128.0));
  for (int64_t at = 0; at < rows * cols; at += 128) hadamard_of_128(w.data() + at, 1);
  const auto scale_by = [&](EncodedPart part, bool of_row) {
    for (int64_t at = 0; at < rows * cols; ++at) {
      float& x = w[static_cast<size_t>(at)];
      x = x * c;
      x = x * static_cast<float>(stored_half(e.parts[static_cast<int>(part)], of_row ? at / cols : at % cols));
    }
  };
  scale_by(EncodedPart::input_scales, false);
  for (int64_t i = 0; i < rows; i += 128) {
    for (int64_t j = 0; j < cols; ++j) hadamard_of_128(w.data() + i * cols + j, cols);
  }
  scale_by(EncodedPart::row_scales, true);
  return w;
}

}  // namespace

Encoded::Encoded(const EncodeOption& option, int64_t rows, int64_t cols, uint64_t seed)
    : view{option, rows, cols, seed, {}} {
  for (int i = 0; i < kPartCount; ++i) {
    parts[i].assign(static_cast<size_t>(part_bytes(option, rows, cols, static_cast<EncodedPart>(i))), 0xff);
    view.parts[i] = parts[i].empty() ? nullptr : parts[i].data();
  }
}

std::unique_ptr<Encoded> random_encoding(const EncodeOption& o, int64_t rows, int64_t cols, double scale,
                                         uint64_t seed) {
  auto out = std::make_unique<Encoded>(o, rows, cols, seed);
  std::mt19937_64 random(seed);
  const auto part = [&](EncodedPart p) -> std::vector<uint8_t>& { return out->parts[static_cast<int>(p)]; };
  for (const EncodedPart p : {EncodedPart::codes, EncodedPart::scales, EncodedPart::group_zeros, EncodedPart::starts}) {
    for (uint8_t& byte : part(p)) byte = static_cast<uint8_t>(random());
  }
  // What the type holds at or below a value in the normal range.
  const auto store = [&](EncodedPart p, size_t i, float value, ScaleDtype type) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (type == ScaleDtype::BF16) bits >>= 16;
    if (type == ScaleDtype::FP16) bits = (bits >> 16 & 0x8000u) | (((bits >> 13 & 0x3ffffu) - (112u << 10)) & 0x7fffu);
    const size_t size = static_cast<size_t>(scale_bits(type)) / 8;
    std::memcpy(part(p).data() + i * size, &bits, size);
  };
  // Between `scale` and twice as much.
  const auto fill = [&](EncodedPart p, ScaleDtype type) {
    for (size_t i = 0; i < part(p).size() * 8 / static_cast<size_t>(scale_bits(type)); ++i) {
      store(p, i, static_cast<float>(scale * (1 + static_cast<double>(random() % 1024) / 1024)), type);
    }
  };
  fill(EncodedPart::groups, o.config.b2);
  fill(EncodedPart::group_scales, o.scales == ScaleKind::searched ? o.scale_type : ScaleDtype::FP16);
  fill(EncodedPart::row_scales, ScaleDtype::FP16);
  for (size_t i = 0; i < part(EncodedPart::input_scales).size() / 2; ++i) {
    store(EncodedPart::input_scales, i, 1 + static_cast<float>(i % 16) / 16, ScaleDtype::FP16);
  }
  const auto number = [&](EncodedPart p, float value) {
    if (!part(p).empty()) std::memcpy(part(p).data(), &value, sizeof value);
  };
  number(EncodedPart::offset, static_cast<float>(scale / 2));
  number(EncodedPart::multiplier, 0.5f);
  const size_t levels = part(EncodedPart::book).size() / 2;
  for (size_t i = 0; i < levels; ++i) {
    store(EncodedPart::book, i, static_cast<float>(2 * i + 1) / static_cast<float>(levels) - 1, ScaleDtype::BF16);
  }
  return out;
}

std::vector<float> decoded(const EncodedView& e, const std::vector<float>& l1, const std::vector<float>& l2) {
  const EncodeOption& o = e.option;
  if (o.grid == GridKind::exl3) return decoded_exl3(e);
  const int64_t rows = e.rows, cols = e.cols;
  const auto part = [&](EncodedPart p) { return e.parts[static_cast<int>(p)]; };
  std::vector<double> unit(static_cast<size_t>(rows * cols));
  if (o.grid == GridKind::trellis) {
    int64_t bit = 0, tile = 0;
    const std::vector<double> values[2] = {values_of(o.states, static_cast<int>(end_of(o, 0))),
                                           values_of(o.states, static_cast<int>(end_of(o, 1) - end_of(o, 0)))};
    for (int64_t i = 0; i < rows; i += 16) {
      for (int64_t j = 0; j < cols; j += 16) {
        const int64_t height = std::min<int64_t>(16, rows - i), width = std::min<int64_t>(16, cols - j);
        const std::vector<uint32_t> states = states_of(e, part(EncodedPart::codes), bit, tile++, height * width);
        bit += end_of(o, height * width - 1);
        for (int64_t t = 0; t < height * width; ++t) {
          unit[static_cast<size_t>((i + t / width) * cols + j + t % width)] =
              values[o.step == 2 ? t % 2 : 0][states[static_cast<size_t>(t)]];
        }
      }
    }
  } else if (o.grid != GridKind::zero) {
    const double fp4[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    for (int64_t i = 0; i < rows * cols; ++i) {
      const uint32_t code = field(part(EncodedPart::codes), i, o.bits);
      double& y = unit[static_cast<size_t>(i)];
      if (o.grid == GridKind::nf) y = static_cast<double>(o.book->levels[code]);
      if (o.grid == GridKind::fitted) {
        uint32_t bits = 0;
        std::memcpy(reinterpret_cast<char*>(&bits) + 2, part(EncodedPart::book) + 2 * code, 2);
        float level;
        std::memcpy(&level, &bits, 4);
        y = static_cast<double>(level);
      }
      if (o.grid == GridKind::fp4) y = (code >= 8 ? -1 : 1) * fp4[code % 8];
      if (o.grid == GridKind::integer) {
        const int64_t row = i / cols, column = i % cols;
        const int64_t group =
            o.scales == ScaleKind::group ? row * ((cols + o.group - 1) / o.group) + column / o.group : row;
        y = static_cast<double>(code) -
            (o.symmetric ? 1 << (o.bits - 1) : static_cast<int>(field(part(EncodedPart::group_zeros), group, o.bits)));
      }
    }
  }
  std::vector<float> w(unit.size());
  float multiplier = 1;
  if (o.scales == ScaleKind::group || o.scales == ScaleKind::row)
    std::memcpy(&multiplier, part(EncodedPart::multiplier), 4);
  QuantizedView q{o.config, nullptr, rows * cols, nullptr, part(EncodedPart::scales), part(EncodedPart::groups), 0};
  if (o.scales == ScaleKind::two_level) std::memcpy(&q.offset, part(EncodedPart::offset), 4);
  for (int64_t i = 0; i < rows * cols && o.grid != GridKind::zero; ++i) {
    float scale = 0;
    if (o.scales == ScaleKind::row) {
      scale = static_cast<float>(stored_half(part(EncodedPart::row_scales), i / cols));
    } else if (o.scales == ScaleKind::group) {
      const int64_t groups = (cols + o.group - 1) / o.group;
      scale = static_cast<float>(stored_half(part(EncodedPart::group_scales), i / cols * groups + i % cols / o.group));
    } else if (o.scales == ScaleKind::searched) {
      const int64_t groups = (cols + o.group - 1) / o.group;
      scale = static_cast<float>(
          group_value(part(EncodedPart::group_scales), i / cols * groups + i % cols / o.group, o.scale_type));
    } else {
      const int64_t block = i / o.config.block;
      const float k = static_cast<float>(field(q.scales, block, o.config.b1));
      const float v = static_cast<float>(group_value(q.groups, block / o.config.group, o.config.b2));
      const float product = k * v, quotient = product / static_cast<float>((1 << o.config.b1) - 1);
      scale = q.offset + quotient;
    }
    w[static_cast<size_t>(i)] = static_cast<float>(unit[static_cast<size_t>(i)]) * scale;
  }
  if (o.transform == Transform::hadamard) {
    int64_t b = 1;
    while (b < 512 && cols % (2 * b) == 0) b *= 2;
    const float c = static_cast<float>(1 / std::sqrt(static_cast<double>(b)));
    for (int64_t at = 0; at < rows * cols; at += b) {
      float* y = w.data() + at;
      for (int64_t h = 1; h < b; h *= 2) {
        for (int64_t p = 0; p < b; ++p) {
          if ((p & h) != 0) continue;
          const float sum = y[p] + y[p + h], difference = y[p] - y[p + h];
          y[p] = sum;
          y[p + h] = difference;
        }
      }
      for (int64_t p = 0; p < b; ++p) {
        uint64_t z = e.seed + static_cast<uint64_t>((at + p) % cols + 1) * 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        z = z ^ z >> 31;
        const float scaled = y[p] * c;
        y[p] = z >> 63 != 0 ? -scaled : scaled;
      }
    }
  }
  if (o.transform == Transform::scaled) {
    for (int64_t i = 0; i < rows * cols; ++i) {
      w[static_cast<size_t>(i)] /= static_cast<float>(stored_half(part(EncodedPart::input_scales), i % cols));
    }
  }
  for (float& x : w) x *= multiplier;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      float& x = w[static_cast<size_t>(i * cols + j)];
      for (int64_t k = 0; k < o.rank; ++k) {
        const float product = l1[static_cast<size_t>(i * o.rank + k)] * l2[static_cast<size_t>(k * cols + j)];
        x = x + product;
      }
    }
  }
  return w;
}

namespace {

// H = A + damping * mean(diag A) * I.
std::vector<double> damped(const EncodeProblem& p) {
  const int64_t n = p.weight.cols;
  std::vector<double> h(p.metric.second_moment, p.metric.second_moment + n * n);
  double trace = 0;
  for (int64_t j = 0; j < n; ++j) trace += h[static_cast<size_t>(j * n + j)];
  for (int64_t j = 0; j < n; ++j)
    h[static_cast<size_t>(j * n + j)] += p.metric.damping * trace / static_cast<double>(n);
  return h;
}

}  // namespace

double half(double x) {
  int exponent;
  std::frexp(x, &exponent);
  const double step = std::ldexp(1.0, std::max(exponent - 11, -24));
  return std::nearbyint(x / step) * step;
}

std::vector<double> inverse_factor(const EncodeProblem& p) {
  const int64_t n = p.weight.cols;
  std::vector<double> h = damped(p), inverse(h.size(), 0.0);
  for (int64_t i = 0; i < n; ++i) inverse[static_cast<size_t>(i * n + i)] = 1;
  for (int64_t k = 0; k < n; ++k) {  // Gauss-Jordan
    const double pivot = h[static_cast<size_t>(k * n + k)];
    for (int64_t j = 0; j < n; ++j) {
      h[static_cast<size_t>(k * n + j)] /= pivot;
      inverse[static_cast<size_t>(k * n + j)] /= pivot;
    }
    for (int64_t i = 0; i < n; ++i) {
      const double f = h[static_cast<size_t>(i * n + k)];
      for (int64_t j = 0; i != k && j < n; ++j) {
        h[static_cast<size_t>(i * n + j)] -= f * h[static_cast<size_t>(k * n + j)];
        inverse[static_cast<size_t>(i * n + j)] -= f * inverse[static_cast<size_t>(k * n + j)];
      }
    }
  }
  std::vector<double> u(h.size(), 0.0);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i; j < n; ++j) {
      double sum = inverse[static_cast<size_t>(i * n + j)];
      for (int64_t k = 0; k < i; ++k) sum -= u[static_cast<size_t>(k * n + i)] * u[static_cast<size_t>(k * n + j)];
      u[static_cast<size_t>(i * n + j)] = i == j ? std::sqrt(sum) : sum / u[static_cast<size_t>(i * n + i)];
    }
  }
  return u;
}

std::vector<double> reference_target(const EncodeProblem& p) {
  const int64_t rows = p.weight.rows, n = p.weight.cols;
  const float* w = static_cast<const float*>(p.weight.data);
  std::vector<double> target(w, w + rows * n);
  if (p.cross == nullptr) return target;
  // Rows of W C H^-1 by elimination with pivots on the symmetric H.
  std::vector<double> h = damped(p), x(static_cast<size_t>(n * rows), 0.0);  // x: columns are rows of W C
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t k = 0; k < n; ++k) {
      for (int64_t j = 0; j < n; ++j) {
        x[static_cast<size_t>(j * rows + i)] +=
            static_cast<double>(w[i * n + k]) * static_cast<double>(p.cross[k * n + j]);
      }
    }
  }
  for (int64_t k = 0; k < n; ++k) {
    for (int64_t i = k + 1; i < n; ++i) {
      const double f = h[static_cast<size_t>(i * n + k)] / h[static_cast<size_t>(k * n + k)];
      for (int64_t j = k; j < n; ++j) h[static_cast<size_t>(i * n + j)] -= f * h[static_cast<size_t>(k * n + j)];
      for (int64_t r = 0; r < rows; ++r)
        x[static_cast<size_t>(i * rows + r)] -= f * x[static_cast<size_t>(k * rows + r)];
    }
  }
  for (int64_t k = n - 1; k >= 0; --k) {
    for (int64_t r = 0; r < rows; ++r) {
      double sum = x[static_cast<size_t>(k * rows + r)];
      for (int64_t j = k + 1; j < n; ++j)
        sum -= h[static_cast<size_t>(k * n + j)] * x[static_cast<size_t>(j * rows + r)];
      x[static_cast<size_t>(k * rows + r)] = sum / h[static_cast<size_t>(k * n + k)];
    }
  }
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < n; ++j)
      target[static_cast<size_t>(i * n + j)] += p.alpha * x[static_cast<size_t>(j * rows + i)];
  }
  return target;
}

double reference_cost(const EncodeProblem& p, const std::vector<double>& target, const std::vector<float>& w) {
  const int64_t rows = p.weight.rows, n = p.weight.cols;
  const std::vector<double> h = p.metric.kind == MetricKind::kfac ? damped(p) : std::vector<double>{};
  double total = 0;
  std::vector<double> e(static_cast<size_t>(n));
  for (int64_t i = 0; i < rows; ++i) {
    double row = 0;
    for (int64_t j = 0; j < n; ++j) {
      const size_t at = static_cast<size_t>(i * n + j);
      e[static_cast<size_t>(j)] = target[at] - static_cast<double>(w[at]);
    }
    for (int64_t j = 0; j < n; ++j) {
      const double x = e[static_cast<size_t>(j)];
      if (p.metric.kind == MetricKind::plain) row += x * x;
      if (p.metric.kind == MetricKind::fisher) row += static_cast<double>(p.metric.fisher[i * n + j]) * x * x;
      if (p.metric.kind == MetricKind::kfac) {
        double sum = 0;
        for (int64_t k = 0; k < n; ++k) sum += h[static_cast<size_t>(j * n + k)] * e[static_cast<size_t>(k)];
        row += static_cast<double>(p.metric.row_weight[i]) * x * sum;
      }
    }
    total += row;
  }
  return total;
}

double least_trellis_error(const EncodeOption& o, const std::vector<double>& targets) {
  const int64_t count = int64_t{1} << o.states;
  const std::vector<double> values[2] = {values_of(o.states, static_cast<int>(end_of(o, 0))),
                                         values_of(o.states, static_cast<int>(end_of(o, 1) - end_of(o, 0)))};
  std::vector<double> cost(static_cast<size_t>(count), 0.0), next(cost.size());
  for (size_t t = 0; t < targets.size(); ++t) {
    const int64_t index = static_cast<int64_t>(t);
    const int64_t bits = end_of(o, index) - end_of(o, index - 1), rest = o.states - bits;
    for (int64_t s = 0; s < count; ++s) {
      // The states before: their newest bits are this one's oldest.
      double best = HUGE_VAL;
      for (int64_t oldest = 0; oldest < (int64_t{1} << bits); ++oldest) {
        best = std::min(best, cost[static_cast<size_t>(s % (int64_t{1} << rest) * (int64_t{1} << bits) + oldest)]);
      }
      const double d = targets[t] - values[o.step == 2 ? t % 2 : 0][static_cast<size_t>(s)];
      next[static_cast<size_t>(s)] = (t == 0 ? 0 : best) + d * d;
    }
    cost.swap(next);
  }
  return *std::min_element(cost.begin(), cost.end());
}

std::vector<float> second_moment(int64_t n, int64_t samples, uint64_t seed) {
  const std::vector<float> x = gaussian(samples * n, seed, 1.0), mixing = gaussian(n, seed + 1, 1.0);
  std::vector<double> a(static_cast<size_t>(n * n), 0.0), row(static_cast<size_t>(n));
  for (int64_t s = 0; s < samples; ++s) {
    double memory = 0;
    for (int64_t j = 0; j < n; ++j) {
      memory = 0.5 * memory + static_cast<double>(x[static_cast<size_t>(s * n + j)]);
      row[static_cast<size_t>(j)] = memory * (1 + std::abs(static_cast<double>(mixing[static_cast<size_t>(j)])));
    }
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        a[static_cast<size_t>(i * n + j)] +=
            row[static_cast<size_t>(i)] * row[static_cast<size_t>(j)] / static_cast<double>(samples);
      }
    }
  }
  return {a.begin(), a.end()};
}

}  // namespace lq::contract
