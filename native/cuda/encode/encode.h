// The encoder's ops on the device: trellis codes, scalar grids and low-rank parts under every metric, with or without a
// correction of the target. GGUF's block types and large ranks are the CPU's.
#pragma once

#include "lq/encode.h"
#include "runtime/budget.h"
#include "runtime/memory.h"

namespace lq::cuda {

bool encodes(const EncodeProblem& problem, const EncodeOption& option);
void encode_costs(const Stream& stream, MemoryBudget& budget, const EncodeProblem& problem, const EncodeOption* options,
                  int64_t count, bool predict, EncodeCost* out, EncodeCost* norm, const Watch& watch);
void encode(const Stream& stream, MemoryBudget& budget, const EncodeProblem& problem, EncodedView* out, float* l1,
            float* l2, EncodeCost* cost, const Watch& watch);

}  // namespace lq::cuda
