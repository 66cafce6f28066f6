// Two streams of hidden states through one model on the CPU: dense, and with the matrices replaced so far.
//
// Memory: the hidden states of every sequence in both streams, the weights of one block in fp32 and the replaced ones
// beside them, and the activations of a batch, bounded as those of losses are. What lies between a block's input and
// its middle is computed twice, once for moments and once to go on, instead of being kept for every sequence.
#pragma once

#include <vector>

#include "lm/model.h"

namespace lq::lm {

// Copies config, provider and tokens; reads nothing yet.
LayerPass* create_layer_pass(const LanguageModelConfig& config, const WeightProvider& provider,
                             std::vector<int32_t> tokens, int32_t context, const Memory& memory);

}  // namespace lq::lm
