#include "gguf/encode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "blas.h"
#include "convert.h"
#include "gguf/encode_scalars.h"
#include "gguf/forms.h"
#include "gguf/kernels.h"
#include "gguf/pack.h"

namespace lq::cpu::gguf {
namespace {

// The metric of a group, and what depends on it.
struct GroupMetric {
  float m[64];
};

// Signs and rows of the groups of eight weights.
struct Unit {
  uint16_t row[2];
  uint8_t signs;
};

// The nearest points of a grid to targets y under scale s; `free` is the weight of column j alone. value receives the
// points. Returns what the group costs.
float search_group(const GridForm& form, const float* m, const float* y, float s, uint8_t signs, uint16_t* row,
                   float* value) {
  const int32_t n = form.view.dims;
  float b[8], c[64], my[8], constant = 0;
  for (int32_t j = 0; j < n; ++j) {
    float sum = 0;
    for (int32_t k = 0; k < n; ++k) sum += m[j * n + k] * y[k];
    my[j] = sum;
    constant += sum * y[j];
  }
  for (int32_t j = 0; j < n; ++j) {
    const float sign = (signs >> j) & 1 ? -s : s;
    b[j] = -2 * sign * my[j];
    for (int32_t k = j; k < n; ++k) {
      const float other = (signs >> k) & 1 ? -s : s;
      c[j * n + k] = sign * other * m[j * n + k] * (k == j ? 1.0f : 2.0f);
    }
  }
  float cost;
  const int32_t found = encode_kernels().nearest(form.view, b, c, &cost);
  *row = static_cast<uint16_t>(found);
  for (int32_t j = 0; j < n; ++j) {
    const float magnitude = s * form.view.magnitude[j * form.view.count + found];
    value[j] = (signs >> j) & 1 ? -magnitude : magnitude;
  }
  return std::max(0.0f, cost + constant);
}

// Signs of y; when their number must be even and is not, the one that costs least to turn is turned. `before` are signs
// of the unit chosen already.
uint8_t choose_signs(const float* y, const float* m, int32_t n, bool even, uint8_t before) {
  uint8_t signs = 0;
  int32_t least = 0;
  for (int32_t j = 0; j < n; ++j) {
    if (y[j] < 0) signs = static_cast<uint8_t>(signs | (1 << j));
    if (m[j * n + j] * std::abs(y[j]) < m[least * n + least] * std::abs(y[least])) least = j;
  }
  int ones = 0;
  for (int32_t j = 0; j < 8; ++j) ones += ((signs >> j) & 1) + ((before >> j) & 1);
  if (even && ones % 2 != 0) signs = static_cast<uint8_t>(signs ^ (1 << least));
  return signs;
}

float grid_scale(const GridForm& form, float d, int32_t code) {
  return d * (form.offset + form.step * static_cast<float>(code)) * form.unit;
}

// One sub-block of one row: its units in order, with feedback among them.
struct SubResult {
  Unit unit[4];
  float value[32], error[32];
  float cost;
};

void encode_sub(const GridForm& form, const BlockMetric& m, const GroupMetric* groups, int64_t at, const float* w,
                const float* target, float s, SubResult* out) {
  const int32_t n = form.view.dims;
  out->cost = 0;
  for (int32_t u = 0; u < form.sub / 8; ++u) {
    Unit& unit = out->unit[u];
    unit.signs = 0;
    for (int32_t g = 0; g < 8 / n; ++g) {
      const int32_t first = 8 * u + n * g;
      float y[8];
      for (int32_t j = 0; j < n; ++j) {
        y[j] = target[first + j];
        if (m.n == nullptr) continue;
        const float* column = m.n + at * m.cols + at + first + j;
        for (int32_t k = 0; k < first; ++k) y[j] += out->error[k] * column[k * m.cols];
      }
      // What was fed back is an error through N; the group's own part of N takes it back to the weights.
      for (int32_t j = 1; j < n && m.n != nullptr; ++j) {
        const float* column = m.n + (at + first) * m.cols + at + first + j;
        for (int32_t k = 0; k < j; ++k) y[j] -= (y[k] - w[first + k]) * column[k * m.cols];
      }
      const float* metric = groups[(at + first) / n].m;
      const bool last = g == 8 / n - 1;
      const uint8_t signs = choose_signs(y, metric, n, form.even && last, unit.signs);
      out->cost += search_group(form, metric, y, s, signs, &unit.row[g], out->value + first);
      unit.signs = static_cast<uint8_t>(unit.signs | (signs << (n * g)));
      for (int32_t j = 0; j < n; ++j) out->error[first + j] = w[first + j] - out->value[first + j];
    }
  }
}

// The inverse of a small symmetric positive definite matrix.
void invert(const float* m, int32_t n, float* out) {
  double a[8][16] = {};
  for (int32_t i = 0; i < n; ++i) {
    for (int32_t j = 0; j < n; ++j) a[i][j] = static_cast<double>(m[i * n + j]);
    a[i][n + i] = 1;
  }
  for (int32_t i = 0; i < n; ++i) {
    const double pivot = a[i][i] != 0 ? a[i][i] : 1;
    for (int32_t j = 0; j < 2 * n; ++j) a[i][j] /= pivot;
    for (int32_t k = 0; k < n; ++k) {
      if (k == i) continue;
      const double f = a[k][i];
      for (int32_t j = 0; j < 2 * n; ++j) a[k][j] -= f * a[i][j];
    }
  }
  for (int32_t i = 0; i < n; ++i) {
    for (int32_t j = 0; j < n; ++j) out[i * n + j] = static_cast<float>(a[i][n + j]);
  }
}

// Goes over the groups of a row once, each to its best given all the others. g is e H.
bool descend_grid(const GridForm& form, const BlockMetric& m, const GroupMetric* own, const GroupMetric* inverse,
                  std::vector<GridBlock>& blocks, float* value, float* g) {
  const int32_t n = form.view.dims;
  bool changed = false;
  for (int64_t at = 0; at < m.cols; at += 8) {
    GridBlock& block = blocks[static_cast<size_t>(at / 256)];
    const int64_t unit = at % 256 / 8;
    const float s = grid_scale(form, block.d, block.scale[at % 256 / form.sub]);
    for (int32_t part = 0; part < 8 / n; ++part) {
      const int64_t first = at + n * part;
      const float* metric = own[first / n].m;
      const float* inv = inverse[first / n].m;
      float y[8], made[8], shift[8];
      for (int32_t j = 0; j < n; ++j) {
        y[j] = value[first + j];
        for (int32_t k = 0; k < n; ++k) y[j] += inv[j * n + k] * g[first + k];
      }
      const auto others = static_cast<uint8_t>(block.signs[unit] & ~(((1 << n) - 1) << (n * part)));
      const uint8_t signs = choose_signs(y, metric, n, form.even, others);
      uint16_t row;
      search_group(form, metric, y, s, signs, &row, made);
      float gain = 0;
      for (int32_t j = 0; j < n; ++j) shift[j] = made[j] - value[first + j];
      float size = 0;
      for (int32_t j = 0; j < n; ++j) {
        float sum = 0;
        for (int32_t k = 0; k < n; ++k) sum += metric[j * n + k] * shift[k];
        gain += 2 * g[first + j] * shift[j] - sum * shift[j];
        size += sum * shift[j];
      }
      if (!(gain > 1e-6f * size)) continue;
      changed = true;
      block.row[(at % 256 + n * part) / n] = row;
      block.signs[unit] = static_cast<uint8_t>(others | (signs << (n * part)));
      for (int32_t j = 0; j < n; ++j) {
        value[first + j] = made[j];
        if (shift[j] == 0) continue;
        const float* h = m.h + (first + j) * m.cols;
        for (int64_t k = 0; k < m.cols; ++k) g[k] -= shift[j] * h[k];
      }
    }
  }
  return changed;
}

// The best scale of a sub-block that could be any number.
float free_scale(const GridForm& form, const BlockMetric& m, const GroupMetric* groups, int64_t at, const float* w,
                 const float* target) {
  float largest = 0;
  for (int32_t j = 0; j < form.sub; ++j) largest = std::max(largest, std::abs(target[j]));
  float best = 0, least = 3e38f;
  SubResult found;
  for (const float factor : {1.0f, 0.88f, 0.78f, 0.68f, 0.58f}) {
    const float s = largest / form.largest * factor;
    encode_sub(form, m, groups, at, w, target, s, &found);
    if (found.cost < least) {
      least = found.cost;
      best = s;
    }
  }
  return best;
}

void encode_grids(BlockType type, const GridForm& form, const BlockMetric& m, const float* w, int64_t rows,
                  int32_t sweeps, uint8_t* out, float* value) {
  constexpr int64_t kSuper = 256;
  const int64_t cols = m.cols, subs = kSuper / form.sub;
  const int32_t n = form.view.dims;
  const BlockFormat& format = format_of(type);
  const int64_t row_bytes = cols / kSuper * format.bytes;
  // What a group misses costs N_BB D_B N_BB'; in descent, H_BB.
  std::vector<GroupMetric> groups(static_cast<size_t>(cols / n)), own, inverse;
  for (int64_t g = 0; g < cols / n; ++g) {
    float* to = groups[static_cast<size_t>(g)].m;
    const int64_t at = g * n;
    const auto factor = [&](int32_t i, int32_t j) {
      if (i == j) return 1.0f;
      return m.n == nullptr || i > j ? 0.0f : m.n[(at + i) * cols + at + j];
    };
    for (int32_t i = 0; i < n; ++i) {
      for (int32_t j = 0; j < n; ++j) {
        float sum = 0;
        for (int32_t k = 0; k < n; ++k) sum += factor(i, k) * m.d[at + k] * factor(j, k);
        to[i * n + j] = sum;
      }
    }
  }
  std::vector<float> error(static_cast<size_t>(rows * cols)), target(static_cast<size_t>(rows * kSuper));
  std::vector<std::vector<GridBlock>> blocks(static_cast<size_t>(rows),
                                             std::vector<GridBlock>(static_cast<size_t>(cols / kSuper)));
  for (int64_t at = 0; at < cols; at += kSuper) {
    block_targets(m, w, error.data(), rows, at, kSuper, target.data());
    for (int64_t i = 0; i < rows; ++i) {
      const float *weight = w + i * cols + at, *base = target.data() + i * kSuper;
      float wanted[16], most = 0;
      for (int64_t s = 0; s < subs; ++s) {
        const int64_t first = s * form.sub;
        wanted[s] = free_scale(form, m, groups.data(), at + first, weight + first, base + first);
        most = std::max(most, wanted[s]);
      }
      float least = 3e38f;
      GridBlock tried{};
      std::array<float, kSuper> errors{};
      for (const float factor : {1.0f, 0.92f}) {
        const float d = from_f16(to_f16(std::min(most * factor / grid_scale(form, 1, 15), 65504.0f)));
        float total = 0;
        std::array<float, kSuper> e{};
        tried.d = d;
        for (int64_t s = 0; s < subs; ++s) {
          const int64_t first = s * form.sub;
          float t[32];
          for (int32_t j = 0; j < form.sub; ++j) {
            t[j] = base[first + j];
            if (m.n == nullptr) continue;
            const float* column = m.n + at * cols + at + first + j;
            for (int64_t k = 0; k < first; ++k) t[j] += e[static_cast<size_t>(k)] * column[k * cols];
          }
          const float exact = d > 0 ? (wanted[s] / (d * form.unit) - form.offset) / form.step : 0;
          const auto near = static_cast<int32_t>(std::lround(std::clamp(exact, 0.0f, 15.0f)));
          SubResult best{}, found;
          best.cost = 3e38f;
          int32_t chosen = 0;
          for (int32_t code = std::max(0, near - 1); code <= std::min(15, near + 1); ++code) {
            encode_sub(form, m, groups.data(), at + first, weight + first, t, grid_scale(form, d, code), &found);
            if (found.cost < best.cost) {
              best = found;
              chosen = code;
            }
          }
          tried.scale[s] = chosen;
          for (int32_t u = 0; u < form.sub / 8; ++u) {
            const int64_t unit = first / 8 + u;
            tried.signs[unit] = best.unit[u].signs;
            for (int32_t g = 0; g < 8 / n; ++g) tried.row[unit * (8 / n) + g] = best.unit[u].row[g];
          }
          std::copy_n(best.error, form.sub, e.begin() + first);
          total += best.cost;
        }
        if (total < least) {
          least = total;
          blocks[static_cast<size_t>(i)][static_cast<size_t>(at / kSuper)] = tried;
          errors = e;
        }
      }
      std::copy_n(errors.begin(), kSuper, error.begin() + i * cols + at);
    }
  }
  const auto store = [&](int64_t i) {
    for (int64_t b = 0; b < cols / kSuper; ++b) {
      pack(type, blocks[static_cast<size_t>(i)][static_cast<size_t>(b)], out + i * row_bytes + b * format.bytes);
    }
    decode(format, out + i * row_bytes, cols / kSuper, value + i * cols);
  };
  for (int64_t i = 0; i < rows; ++i) store(i);
  if (sweeps == 0 || m.h == nullptr) return;
  own.resize(groups.size());
  inverse.resize(groups.size());
  for (int64_t g = 0; g < cols / n; ++g) {
    float* to = own[static_cast<size_t>(g)].m;
    for (int32_t i = 0; i < n; ++i) {
      for (int32_t j = 0; j < n; ++j) to[i * n + j] = m.h[(g * n + i) * cols + g * n + j];
    }
    invert(to, n, inverse[static_cast<size_t>(g)].m);
  }
  for (int64_t i = 0; i < rows * cols; ++i) error[static_cast<size_t>(i)] = w[i] - value[i];
  std::vector<float> gradient(error.size());
  sgemm(false, false, rows, cols, cols, 1, error.data(), cols, m.h, cols, 0, gradient.data(), cols);
  for (int64_t i = 0; i < rows; ++i) {
    for (int32_t sweep = 0; sweep < sweeps; ++sweep) {
      if (!descend_grid(form, m, own.data(), inverse.data(), blocks[static_cast<size_t>(i)], value + i * cols,
                        gradient.data() + i * cols)) {
        break;
      }
    }
    store(i);
  }
}

bool is_float(BlockType type) { return type == BlockType::F16 || type == BlockType::BF16; }

// Weights on their own, to nearest: there is nothing to choose, and next to nothing to feed back.
void encode_floats(BlockType type, const float* w, int64_t count, uint8_t* out, float* value) {
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t bits = type == BlockType::F16 ? to_f16(w[i]) : to_bf16(w[i]);
    out[2 * i] = static_cast<uint8_t>(bits);
    out[2 * i + 1] = static_cast<uint8_t>(bits >> 8);
    value[i] = type == BlockType::F16 ? from_f16(bits) : from_bf16(bits);
  }
}

}  // namespace

bool can_encode(BlockType type) { return is_float(type) || scalar_form(type) != nullptr || grid_form(type) != nullptr; }

void encode_panel(BlockType type, const BlockMetric& metric, const float* w, int64_t rows, int32_t sweeps, uint8_t* out,
                  float* value) {
  if (is_float(type)) {
    encode_floats(type, w, rows * metric.cols, out, value);
  } else if (const ScalarForm* form = scalar_form(type)) {
    encode_scalars(type, *form, metric, w, rows, sweeps, out, value);
  } else if (const GridForm* grid = grid_form(type)) {
    encode_grids(type, *grid, metric, w, rows, sweeps, out, value);
  }
}

}  // namespace lq::cpu::gguf
