#include "quantizer.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "convert.h"
#include "threads.h"

namespace lq::cpu {

void BlockScales::resize(const QuantConfig& config, int64_t count, bool fields) {
  const size_t blocks = static_cast<size_t>(block_count(config, count));
  absmax.resize(blocks);
  decoded.resize(blocks);
  inverse.resize(blocks);
  if (fields) {
    k.resize(blocks);
    v.resize(static_cast<size_t>(group_count(config, count)));
  }
}

void BlockScales::compute(const QuantConfig& config, const float* source, bool fields) {
  const int64_t blocks = static_cast<int64_t>(decoded.size());
  float smallest = std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < blocks; ++i) smallest = source[i] < smallest ? source[i] : smallest;
  offset = smallest;
  const int64_t groups_a_piece = std::max<int64_t>(1, 16384 / config.group);
  const int64_t groups = (blocks + config.group - 1) / config.group;
  parallel_for(0, groups, groups_a_piece, [&](int64_t b, int64_t e) {
    const int64_t at = b * config.group;
    kernels().scales({source + at, std::min(blocks, e * config.group) - at, config.group, config.b1, config.b2, offset,
                      exponent, decoded.data() + at, inverse.data() + at, fields ? k.data() + at : nullptr,
                      fields ? v.data() + b : nullptr});
  });
}

void pack_fields(const uint8_t* values, int64_t count, int32_t bits, uint8_t* out) {
  // Eight fields are `bits` whole bytes, so pieces of eight never share a byte.
  parallel_for(0, (count + 7) / 8, 1 << 15, [&](int64_t b, int64_t e) {
    for (int64_t unit = b; unit < e; ++unit) {
      const int64_t at = unit * 8, n = std::min<int64_t>(8, count - at);
      uint64_t word = 0;
      for (int64_t i = 0; i < n; ++i) word |= static_cast<uint64_t>(values[at + i]) << (i * bits);
      const int64_t bytes = (n * bits + 7) / 8;
      for (int64_t i = 0; i < bytes; ++i) out[unit * bits + i] = static_cast<uint8_t>(word >> (8 * i));
    }
  });
}

void unpack_fields(const uint8_t* packed, int64_t begin, int64_t count, int32_t bits, uint8_t* out) {
  const uint32_t mask = (1u << bits) - 1;
  int64_t i = 0;
  const auto one = [&](int64_t field) {
    const int64_t bit = field * bits;
    uint32_t word = packed[bit / 8];
    if (bit % 8 + bits > 8) word |= static_cast<uint32_t>(packed[bit / 8 + 1]) << 8;
    return static_cast<uint8_t>((word >> (bit % 8)) & mask);
  };
  for (; i < count && (begin + i) % 8 != 0; ++i) out[i] = one(begin + i);
  for (; i + 8 <= count; i += 8) {
    uint64_t word = 0;
    const uint8_t* p = packed + (begin + i) / 8 * bits;
    for (int32_t b = 0; b < bits; ++b) word |= static_cast<uint64_t>(p[b]) << (8 * b);
    for (int32_t f = 0; f < 8; ++f) out[i + f] = static_cast<uint8_t>((word >> (f * bits)) & mask);
  }
  for (; i < count; ++i) out[i] = one(begin + i);
}

void store_groups(const std::vector<float>& v, ScaleDtype dtype, uint8_t* out) {
  if (dtype == ScaleDtype::FP32) {
    std::memcpy(out, v.data(), v.size() * 4);
    return;
  }
  for (size_t i = 0; i < v.size(); ++i) {
    const uint16_t bits = dtype == ScaleDtype::BF16 ? to_bf16(v[i]) : to_f16(v[i]);
    std::memcpy(out + 2 * i, &bits, 2);
  }
}

void load_groups(const uint8_t* in, ScaleDtype dtype, std::vector<float>& v) {
  if (dtype == ScaleDtype::FP32) {
    std::memcpy(v.data(), in, v.size() * 4);
    return;
  }
  for (size_t i = 0; i < v.size(); ++i) {
    uint16_t bits;
    std::memcpy(&bits, in + 2 * i, 2);
    v[i] = dtype == ScaleDtype::BF16 ? from_bf16(bits) : from_f16(bits);
  }
}

void decode_scales(const QuantizedView& q, std::vector<float>& scales) {
  const QuantConfig& c = q.config;
  const int64_t blocks = block_count(c, q.count);
  scales.resize(static_cast<size_t>(blocks));
  const float top = static_cast<float>((1 << c.b1) - 1);
  std::vector<float> maxima(static_cast<size_t>(group_count(c, q.count)));
  load_groups(q.groups, c.b2, maxima);
  parallel_for(0, group_count(c, q.count), std::max<int64_t>(1, 16384 / c.group), [&](int64_t b, int64_t e) {
    std::vector<uint8_t> k(static_cast<size_t>(c.group));
    for (int64_t g = b; g < e; ++g) {
      const float v = maxima[static_cast<size_t>(g)];
      const int64_t at = g * c.group, n = std::min<int64_t>(c.group, blocks - at);
      unpack_fields(q.scales, at, n, c.b1, k.data());
      for (int64_t i = 0; i < n; ++i) {
        scales[static_cast<size_t>(at + i)] = q.offset + static_cast<float>(k[static_cast<size_t>(i)]) * v / top;
      }
    }
  });
}

void decode_weights(const QuantizedView& q, const BookTable& table, const std::vector<float>& scales, int64_t begin,
                    int64_t end, float* out, std::vector<uint8_t>& scratch) {
  const int64_t n = end - begin;
  if (static_cast<int64_t>(scratch.size()) < n) scratch.resize(static_cast<size_t>(n));
  unpack_fields(q.codes, begin, n, q.config.b0, scratch.data());
  for (int64_t i = 0; i < n;) {
    const int64_t block = (begin + i) / q.config.block;
    const int64_t stop = std::min(n, (block + 1) * q.config.block - begin);
    const float scale = scales[static_cast<size_t>(block)];
    for (; i < stop; ++i) out[i] = table.levels[scratch[static_cast<size_t>(i)]] * scale;
  }
}

}  // namespace lq::cpu
