// Sizes of the engine's device memory.
#pragma once

#include <cstdint>
#include <vector>

#include "lq/problem.h"
#include "lq/workspace.h"

namespace lq::cuda {

// The fields of a workspace that follow from the shape and the rank.
void shape_workspace(int64_t rows, int64_t cols, int64_t rank, Workspace* ws);

// Blocks that the option with most of them has.
int64_t most_blocks(const std::vector<SweepOption>& options, int64_t count);

// Bytes a slot takes.
int64_t slot_bytes(const Workspace& ws, int64_t max_blocks);

}  // namespace lq::cuda
