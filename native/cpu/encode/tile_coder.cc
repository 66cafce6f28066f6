#include "encode/tile_coder.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <tuple>

#include "encode/option.h"
#include "threads.h"

namespace lq::cpu {
namespace {

constexpr int64_t kTile = kTileSide * kTileSide;

}  // namespace

TileCoder::TileCoder(const EncodeOption& option, const TrellisCode& code)
    : option_(option),
      code_(code),
      limit_(code.largest() + 2),
      targets_(2 * kTile),
      scratch_(static_cast<size_t>(viterbi_scratch(option.states, option.bits / option.step, kTile))),
      steps_(2 * kTile + 1),
      path_(2 * kTile) {
  // Steps of two rounds of the longest tile; shorter ones have the same first steps.
}

float TileCoder::search(const float* targets, const ViterbiStep* steps, int64_t count, int64_t from, int64_t to,
                        uint32_t* path) {
  return encode_kernels().viterbi({option_.states, steps, targets, count, from, to, scratch_.data(), path});
}

void TileCoder::encode(const float* targets, int64_t count, float* values) {
  count_ = count;
  // A target far outside the values costs every path nearly the same; left alone it would drown the others' costs.
  for (int64_t t = 0; t < count; ++t) targets_[static_cast<size_t>(t)] = std::clamp(targets[t], -limit_, limit_);
  for (int64_t t = 0; t <= count; ++t) {
    const TrellisCode::Step& step = code_.step(step_bits(option_, t == count ? 0 : t));
    steps_[static_cast<size_t>(t)] = {step.bits, step.values.data(), step.interleaved.data()};
  }
  if (option_.tail_biting && tile_bits(option_, count) < option_.states + 6) {
    search_all();
  } else {
    search(targets_.data(), steps_.data(), count, -1, -1, path_.data());
    if (option_.tail_biting) bite_tail();
  }
  for (int64_t t = 0; t < count; ++t) {
    values[t] = steps_[static_cast<size_t>(t)].values[path_[static_cast<size_t>(t)]];
  }
}

// The free path's middle stays, and its ends are searched again as one run that leads from the end into the beginning.
void TileCoder::bite_tail() {
  // Three times what a state remembers: a path has forgotten its ends by then.
  const int64_t memory = 3 * (static_cast<int64_t>(option_.states) * option_.step / option_.bits + 1);
  const int64_t reach = std::min(memory, count_ / 2), begin = count_ - reach;
  const auto before = [&](int64_t t) {
    return static_cast<int64_t>(path_[static_cast<size_t>(t)]) >> steps_[static_cast<size_t>(t)].bits;
  };
  const int64_t from = before(begin), to = before(reach);
  std::vector<ViterbiStep> steps;
  std::vector<float> targets;
  for (int64_t i = 0; i <= 2 * reach; ++i) {
    const size_t t = static_cast<size_t>((begin + i) % count_);
    steps.push_back(steps_[t]);
    targets.push_back(targets_[t]);
  }
  std::vector<uint32_t> path(static_cast<size_t>(2 * reach));
  search(targets.data(), steps.data(), 2 * reach, from, to, path.data());
  for (int64_t i = 0; i < 2 * reach; ++i) {
    path_[static_cast<size_t>((begin + i) % count_)] = path[static_cast<size_t>(i)];
  }
}

// Every stream of a tile whose ring is hardly longer than a state.
void TileCoder::search_all() {
  const int64_t bits = tile_bits(option_, count_);
  std::vector<uint32_t> states(static_cast<size_t>(count_));
  float least = 3e38f;
  for (uint64_t stream = 0; stream < uint64_t{1} << bits; ++stream) {
    float cost = 0;
    for (int64_t t = 0; t < count_ && cost < least; ++t) {
      uint32_t state = 0;  // turned around: the newest bit lowest
      for (int64_t i = 1; i <= option_.states; ++i) {
        const int64_t at = ((trellis_end(option_, t) - i) % bits + bits) % bits;
        state |= static_cast<uint32_t>(stream >> at & 1) << (i - 1);
      }
      states[static_cast<size_t>(t)] = state;
      const float d = targets_[static_cast<size_t>(t)] - steps_[static_cast<size_t>(t)].values[state];
      cost += d * d;
    }
    if (cost >= least) continue;
    least = cost;
    std::copy(states.begin(), states.end(), path_.begin());
  }
}

void TileCoder::write_codes(uint8_t* codes) const {
  uint64_t word = 0;
  int32_t filled = 0;
  for (int64_t t = 0; t < count_; ++t) {
    const int32_t bits = steps_[static_cast<size_t>(t)].bits;
    word |= static_cast<uint64_t>(reverse_bits(newest(t), bits)) << filled;
    for (filled += bits; filled >= 8; filled -= 8, word >>= 8) *codes++ = static_cast<uint8_t>(word);
  }
  if (filled > 0) *codes = static_cast<uint8_t>(word);
}

uint32_t TileCoder::start() const {
  return reverse_bits(path_[0] >> steps_[0].bits, static_cast<int32_t>(start_bits(option_)));
}

double gaussian_error(const EncodeOption& option) {
  static std::mutex mutex;
  static std::map<std::tuple<GridKind, Exl3Code, int32_t, int32_t, int32_t, bool>, double> known;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto [at, added] = known.try_emplace(
      {option.grid, option.exl3_code, option.bits, option.step, option.states, option.tail_biting}, 0.0);
  if (!added) return at->second;
  const std::vector<float> sample = gaussian_sample();
  const TrellisCode code(option);
  // A search through 2^16 states takes sixteen times as long.
  const int64_t count = option.grid == GridKind::exl3 ? kSampleTiles / 4 : kSampleTiles;
  std::vector<double> errors(static_cast<size_t>(count)), norms(static_cast<size_t>(count));
  parallel_for(0, count, 4, [&](int64_t b, int64_t e) {
    TileCoder coder(option, code);
    std::vector<float> x(kTile), q(kTile);
    for (int64_t tile = b; tile < e; ++tile) {
      std::transform(sample.begin() + tile * kTile, sample.begin() + (tile + 1) * kTile, x.begin(),
                     [&](float target) { return target / code.unit(); });
      coder.encode(x.data(), kTile, q.data());
      double squares = 0, error = 0;
      for (size_t i = 0; i < q.size(); ++i) {
        const double d = static_cast<double>(x[i]) - static_cast<double>(q[i]);
        error += d * d;
        squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
      }
      errors[static_cast<size_t>(tile)] = error;
      norms[static_cast<size_t>(tile)] = squares;
    }
  });
  double sum = 0, norm = 0;
  for (const double e : errors) sum += e;
  for (const double n : norms) norm += n;
  return at->second = sum / norm;
}

}  // namespace lq::cpu
