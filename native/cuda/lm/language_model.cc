#include "lm/language_model.h"

namespace lq::cuda {

LanguageModel* create_language_model(const Stream&, const LanguageModelConfig&, const WeightProvider&) {
  fail(StatusCode::unsupported, "language models run on the CPU: this CUDA library has no transformer");
}

}  // namespace lq::cuda
