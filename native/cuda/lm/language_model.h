// Transformers on the device.
#pragma once

#include "lq/language_model.h"
#include "runtime/memory.h"

namespace lq::cuda {

// A language model whose work runs on `stream` of the current device. Throws Failure.
LanguageModel* create_language_model(const Stream& stream, const LanguageModelConfig& config,
                                     const WeightProvider& provider);

}  // namespace lq::cuda
