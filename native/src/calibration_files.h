// The files a calibration's sums are written into.
#pragma once

#include <compare>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "lq/language_model.h"
#include "mapped_file.h"
#include "task.h"

namespace lq {

// Names as JavaScript has them, in the order of the enumerations.
inline constexpr const char* kKindNames[] = {
    "embedding",
    "final_norm",
    "head",
    "input_norm",
    "post_attention_norm",
    "q",
    "k",
    "v",
    "o",
    "gate",
    "up",
    "down",
    "q_bias",
    "k_bias",
    "v_bias",
    "o_bias",
    "q_norm",
    "k_norm",
    "gate_bias",
    "up_bias",
    "down_bias",
    "attention_output_norm",
    "mlp_output_norm",
    "final_norm_bias",
    "input_norm_bias",
    "post_attention_norm_bias",
    "attention_output_norm_bias",
    "mlp_output_norm_bias",
    "q_norm_bias",
    "k_norm_bias",
    "sinks",
    "qkv",
    "qkv_bias",
    "gate_up",
    "gate_up_bias",
    "positions",
    "types",
    "embedding_norm",
    "embedding_norm_bias",
    "embedding_projection",
    "embedding_projection_bias",
    "head_dense",
    "head_dense_bias",
    "head_norm",
    "head_norm_bias",
    "head_bias",
    "router",
    "router_bias",
    "router_correction",
    "shared_gate",
};
inline constexpr const char* kInputNames[] = {"attention", "output", "mlp", "down"};

// Where a weight or an input is in the network.
struct Place {
  int32_t layer;
  WeightKind kind;
  int32_t expert;
  auto operator<=>(const Place&) const = default;
};
struct InputPlace {
  int32_t layer;
  BlockInput input;
  int32_t expert;
  auto operator<=>(const InputPlace&) const = default;
};

// Ranges of files, each mapped and cleared when the backend first asks for it. A file that cannot be mapped stops the
// run through its control.
class CalibrationFiles {
 public:
  void want_squares(const Place& place, const ByteRange& range) { squares_[place].range = range; }
  void want_row_squares(const Place& place, const ByteRange& range) { row_squares_[place].range = range; }
  // `diagonal` has its diagonal too.
  void want_moment(const InputPlace& place, const ByteRange& range, const ByteRange& diagonal) {
    moments_[place].range = range;
    diagonals_[place] = diagonal;
  }

  CalibrationSink sink();
  // `outer`, cancelled too when a file failed. Refers to outer.
  Control watch(const Control& outer);
  // Sums become means when `status` is ok: gradients over samples (rows over columns too), moments over tokens, both
  // triangles. Throws TaskFailure when a file failed, or a target was never asked for: no block's, or of another size.
  void finish(const Status& status, int64_t samples, int64_t context);

 private:
  struct Target {
    ByteRange range;
    std::unique_ptr<MappedFile> file;  // from the first use on
    std::vector<double> sums;          // of rows, which have no mapping
  };

  float* map(Target* target, int64_t count);

  std::map<Place, Target> squares_, row_squares_;
  std::map<InputPlace, Target> moments_;
  std::map<InputPlace, ByteRange> diagonals_;
  std::map<Place, int64_t> columns_;  // of the matrices asked for
  Outcome failure_;
  const Control* outer_ = nullptr;
};

}  // namespace lq
