// What a calibration sums, over all sequences.
#pragma once

#include "lm/model.h"

namespace lq::cuda {

// LanguageModel::calibrate. Layers whose sums do not fit on the device together are passes over the sequences of their
// own.
void calibrate(Model* model, const int32_t* tokens, int64_t sequences, int32_t context, const CalibrationSink& sink,
               double* losses, const Watch& watch);

}  // namespace lq::cuda
