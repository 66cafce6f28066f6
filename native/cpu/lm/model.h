// The CPU's transformer.
//
// Memory: the weights of one block (or of the embedding, or of the head) in fp32, asked for as the batch reaches them,
// and the activations of a batch of sequences, bounded by the constants in model.cc. For a Llama-2-7B at context 512
// that is 0.81 GB for a block (0.52 GB for the head), 0.5 GB of activations for losses and 1.0 GB for squared
// gradients; the checkpoint's own 13.5 GB are read once a batch, forwards (twice for gradients, forwards and backwards)
// and stay in the page cache when it has room. The 26 GB of fp32 accumulators belong to the sink, which maps files.
#pragma once

#include "lq/language_model.h"

namespace lq::lm {

// Refuses impossible dimensions. The model copies config and provider.
Status create_language_model(const LanguageModelConfig& config, const WeightProvider& provider, LanguageModel** out);

}  // namespace lq::lm
