// Transformers on the device.
#pragma once

#include "lq/language_model.h"

namespace lq::cuda {

// A language model on the current device, with a stream of its own. Throws Failure.
//
// Weights are kept on the device as far as they fit and streamed by block otherwise. They are stored in bf16 when every
// one is a bf16 number, else as the sum of two bf16 numbers; products run on tensor cores with fp32 accumulation
// (lm/product.h). Matrices that the provider has packed stay packed. The residual stream, norms, softmax and losses are
// fp32.
LanguageModel* create_language_model(const LanguageModelConfig& config, const WeightProvider& provider);

}  // namespace lq::cuda
