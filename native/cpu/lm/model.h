// The CPU's transformer.
//
// Memory: the weights of one block (or of the embedding, or of the head) in fp32, asked for as the batch reaches them,
// and the activations of a batch of sequences, bounded by `Memory`. For a Llama-2-7B at context 512
// that is 0.81 GB for a block (0.52 GB for the head), 0.5 GB of activations for losses and 1.0 GB for squared
// gradients; the checkpoint's own 13.5 GB are read once a batch, forwards (twice for gradients, forwards and backwards)
// and stay in the page cache when it has room. The 26 GB of fp32 accumulators belong to the sink, which maps files.
#pragma once

#include "lq/language_model.h"

namespace lq::lm {

// Bytes of activations a batch may take; one sequence is always taken.
struct Memory {
  int64_t losses = int64_t{512} << 20;
  int64_t gradients = int64_t{1} << 30;
};

// Refuses impossible dimensions. The model copies config and provider.
Status create_language_model(const LanguageModelConfig& config, const WeightProvider& provider, LanguageModel** out,
                             const Memory& memory = {});

}  // namespace lq::lm
