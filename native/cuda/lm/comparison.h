// How the predictions of two models differ.
#pragma once

#include "lm/model.h"

namespace lq::cuda {

// LanguageModel::divergence of `first` and `second`, which may be one.
void compare(Model* first, Model* second, const int32_t* tokens, int64_t sequences, int32_t context,
             const Divergence& out, const Watch& watch);

}  // namespace lq::cuda
