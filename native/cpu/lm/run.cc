#include "lm/run.h"

namespace lq::lm {

void check_tokens(const LanguageModelConfig& config, const int32_t* tokens, int64_t count, int32_t context,
                  int32_t least) {
  if (context < least) fail(StatusCode::invalid_argument, "the context is too short");
  for (int64_t i = 0; i < count; ++i) {
    const int32_t token = config.masked && tokens[i] < 0 ? ~tokens[i] : tokens[i];
    if (token >= 0 && token < config.vocab) continue;
    Failure failure{{StatusCode::invalid_argument, i, {}}};
    std::snprintf(failure.status.message, sizeof failure.status.message,
                  "token %d at %lld is outside the vocabulary of %d", tokens[i], static_cast<long long>(i),
                  config.vocab);
    throw failure;
  }
}

}  // namespace lq::lm
