// The encoder's ops on the device: trellis codes of 10 to 12 bits of state, and scalar grids rounded to the nearest or
// with feedback, without low rank, under the plain and the kfac metric, with or without a correction of the target.
#pragma once

#include "lq/encode.h"
#include "runtime/budget.h"
#include "runtime/memory.h"

namespace lq::cuda {

bool encodes(const EncodeProblem& problem, const EncodeOption& option);
void encode_costs(const Stream& stream, MemoryBudget& budget, const EncodeProblem& problem, const EncodeOption* options,
                  int64_t count, bool predict, EncodeCost* out, EncodeCost* norm, const Watch& watch);
void encode(const Stream& stream, MemoryBudget& budget, const EncodeProblem& problem, EncodedView* out,
            EncodeCost* cost, const Watch& watch);

}  // namespace lq::cuda
