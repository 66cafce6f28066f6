// Trellis codes of one tile: the Viterbi search, tail-biting, and the bits of its stream.
#pragma once

#include <cstdint>
#include <vector>

#include "encode/kernels.h"
#include "encode/trellis_code.h"

namespace lq::cpu {

// Holds scratch memory; one a thread.
class TileCoder {
 public:
  TileCoder(const EncodeOption& option, const TrellisCode& code);

  // The path of least squared error for `count` targets, in units of the row scales; its values into `values`.
  void encode(const float* targets, int64_t count, float* values);
  // The stream of the last path: tile_bits bits into `codes`, zero-padded to a byte, and the field of part `starts`.
  void write_codes(uint8_t* codes) const;
  uint32_t start() const;
  // The new bits of weight t of the last path, the newest lowest.
  uint32_t newest(int64_t t) const {
    return path_[static_cast<size_t>(t)] & ((1u << steps_[static_cast<size_t>(t)].bits) - 1);
  }

 private:
  void bite_tail();
  void search_all();
  float search(const float* targets, const ViterbiStep* steps, int64_t count, int64_t from, int64_t to, uint32_t* path);

  const EncodeOption option_;
  const TrellisCode& code_;
  float limit_;
  int64_t count_ = 0;
  std::vector<float> targets_, scratch_;
  std::vector<ViterbiStep> steps_;
  std::vector<uint32_t> path_;
};

// Mean squared error of the code for a unit Gaussian, measured on a fixed sample to about 1 %.
double gaussian_error(const EncodeOption& option);

}  // namespace lq::cpu
