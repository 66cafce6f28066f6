// The encoder's ops of the backend.
#pragma once

#include "lq/encode.h"

namespace lq::cpu {

Status encode_costs(const EncodeProblem& problem, const EncodeOption* options, int64_t count, bool predict,
                    EncodeCost* out, EncodeCost* norm, const Control& control);
Status encode(const EncodeProblem& problem, EncodedView* out, float* l1, float* l2, EncodeCost* cost,
              const Control& control);
Status decode(const EncodedView& e, const float* l1, const float* l2, float* out, const Control& control);
Status encoded_cost(const EncodeProblem& problem, const EncodedView& e, const float* l1, const float* l2,
                    EncodeCost* cost, const Control& control);

}  // namespace lq::cpu
