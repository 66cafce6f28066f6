// One option of one matrix being encoded, panel of rows by panel of rows.
#pragma once

#include <memory>

#include "encode/matrix.h"

namespace lq::cpu {

// What is encoded: the target of a space, or what its low-rank part leaves. target_h is target h, null where the space
// has no h.
struct EncodeTarget {
  const float* target;
  const float* target_h;
};

class EncodeRun {
 public:
  virtual ~EncodeRun() = default;
  // Before the panels: what depends on all of them. May use the pool.
  virtual void begin() {}
  // Panels are independent; different ones may be encoded at once.
  virtual int64_t panels() const { return matrix_.panels(); }
  virtual void panel(int64_t p) = 0;
  // After the panels: parts that are packed as a whole. May use the pool.
  virtual void finish() {}

  EncodeCost cost() const;

 protected:
  explicit EncodeRun(const EncodeMatrix& matrix)
      : matrix_(matrix), costs_(static_cast<size_t>(matrix.panels()), EncodeCost{0, 0, true}) {}
  const EncodeMatrix& matrix_;
  std::vector<EncodeCost> costs_;  // of pieces, one a panel unless a run says otherwise
};

// Encodes into the parts of `out`, whose option it is; parts may be null when only the cost is wanted. `error`, when
// not null, receives target - Q, [rows, cols] in the space's coordinates.
std::unique_ptr<EncodeRun> make_run(const EncodeMatrix& matrix, const EncodeTarget& target, const EncodedView& out,
                                    float* error);
std::unique_ptr<EncodeRun> make_trellis_run(const EncodeMatrix& matrix, const EncodeTarget& target,
                                            const EncodedView& out, float* error);
std::unique_ptr<EncodeRun> make_exl3_run(const EncodeMatrix& matrix, const EncodeTarget& target, const EncodedView& out,
                                         float* error);
std::unique_ptr<EncodeRun> make_block_run(const EncodeMatrix& matrix, const EncodeTarget& target,
                                          const EncodedView& out, float* error);
std::unique_ptr<EncodeRun> make_zero_run(const EncodeMatrix& matrix, const EncodeTarget& target, const EncodedView& out,
                                         float* error);
std::unique_ptr<EncodeRun> make_scalar_run(const EncodeMatrix& matrix, const EncodeTarget& target,
                                           const EncodedView& out, float* error);

}  // namespace lq::cpu
