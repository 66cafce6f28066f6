// Two streams of hidden states through one model on the device: dense, and with the matrices replaced so far.
//
// Memory: the weights of one block twice, dense as the model stores them and a copy whose matrices are replaced; the
// hidden states of every sequence in both streams, on the device where they leave half of it free and on the host
// otherwise; and one batch. What lies between a block's input and its middle is computed twice, once for moments and
// once to go on, instead of being kept for every sequence. Activations have two planes always: differences of the
// streams are what is measured.
#pragma once

#include <vector>

#include "lm/model.h"

namespace lq::cuda {

// Copies config, provider and tokens; reads nothing yet. A model of its own on the current device.
LayerPass* create_layer_pass(const LanguageModelConfig& config, const WeightProvider& provider,
                             std::vector<int32_t> tokens, int32_t context);

}  // namespace lq::cuda
