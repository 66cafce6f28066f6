#include "encode/option.h"

#include <cmath>

#include "gguf/encode.h"
#include "prepared.h"
#include "status.h"

namespace lq::cpu {
namespace {

Status unsupported(const char* sentence) { return error(StatusCode::unsupported, -1, "%s", sentence); }

Status check_trellis(const EncodeOption& o) {
  if (o.step != 1 && o.step != 2) {
    return error(StatusCode::invalid_argument, -1, "a trellis takes its bits every 1 or 2 weights, not %d", o.step);
  }
  if (o.states < 10 || o.states > 16) {
    return error(StatusCode::invalid_argument, -1, "a trellis state has 10 to 16 bits, not %d", o.states);
  }
  if (o.bits < o.step || o.bits > 6 * o.step || (o.states - o.bits / o.step) < 6) {
    return error(StatusCode::invalid_argument, -1, "a trellis has 1 to 6 bits a weight, not %d every %d", o.bits,
                 o.step);
  }
  if (o.scales != ScaleKind::row) return unsupported("a trellis code has row scales; it has none by block or group");
  if (o.rounding == Rounding::descent) {
    return unsupported("coordinate descent moves one code at a time, and the codes of a trellis hang together");
  }
  return ok();
}

Status check_exl3(const EncodeOption& o) {
  if (o.bits < 1 || o.bits > 8 || o.step != 1 || o.states != 16 || !o.tail_biting) {
    return error(StatusCode::invalid_argument, -1, "EXL3 codes have 1 to 8 bits a weight, not %d", o.bits);
  }
  if (o.scales != ScaleKind::block || o.transform != Transform::two_sided || o.rank > 0) {
    return unsupported("EXL3 codes have scales and a transform of their own and no low-rank part");
  }
  if (o.rounding == Rounding::descent) {
    return unsupported("coordinate descent moves one code at a time, and the codes of a trellis hang together");
  }
  return ok();
}

}  // namespace

Status check_shape(const EncodeOption& o, int64_t rows, int64_t cols) {
  if (o.transform != Transform::two_sided || (rows % kTwoSidedBlock == 0 && cols % kTwoSidedBlock == 0)) return ok();
  return error(StatusCode::unsupported, -1, "128 does not divide both sides of %lld x %lld, which EXL3 needs",
               static_cast<long long>(rows), static_cast<long long>(cols));
}

Status check_option(const EncodeOption& o) {
  if (o.rank < 0) return error(StatusCode::invalid_argument, -1, "negative rank");
  if (o.transform == Transform::scaled &&
      (o.grid != GridKind::integer || !(o.scales == ScaleKind::group || o.scales == ScaleKind::row) || o.rank > 0)) {
    return unsupported("scaled inputs go with integer grids with group or row scales, without a low-rank part");
  }
  if (o.grid == GridKind::exl3) return check_exl3(o);
  if (o.transform == Transform::two_sided) return unsupported("the two-sided transform is that of EXL3 codes alone");
  if (o.grid == GridKind::trellis) return check_trellis(o);
  if (o.grid == GridKind::zero) {
    if (o.scales == ScaleKind::block && o.transform == Transform::none && o.rank > 0) return ok();
    return unsupported("without codes there is a low-rank part, and neither scales nor a transform");
  }
  if ((o.grid == GridKind::gguf) != (o.scales == ScaleKind::block)) {
    return unsupported("scales inside blocks go with the block types of GGUF, and only with them");
  }
  if (o.grid == GridKind::gguf) {
    if (!gguf::can_encode(static_cast<gguf::BlockType>(o.block_type))) {
      return unsupported("weights cannot be encoded in this block type");
    }
    if (o.transform != Transform::none || o.rank > 0) {
      return unsupported("a block type of GGUF has no transform and no low-rank part");
    }
    return ok();
  }
  const int32_t least = 2, most = o.grid == GridKind::fitted || o.grid == GridKind::fp4 ? 4 : 8;
  if (o.bits < least || o.bits > most || (o.grid == GridKind::fp4 && o.bits != 4)) {
    return error(StatusCode::invalid_argument, -1, "this grid has no codes of %d bits", o.bits);
  }
  if (o.grid == GridKind::nf) {
    const Status status = check_config({o.bits, 8, ScaleDtype::FP32, 64, 64}, o.book);
    if (failed(status)) return status;
  }
  if (o.scales == ScaleKind::two_level) {
    CodeBook any{};
    any.bits = 8;
    const Status status = check_config({8, o.config.b1, o.config.b2, o.config.block, o.config.group}, &any);
    if (failed(status)) return status;
    if (o.grid == GridKind::integer && !o.symmetric) {
      return unsupported("two-level scales have no zero points; an asymmetric integer grid has group or row scales");
    }
  }
  if (o.scales == ScaleKind::searched &&
      (o.grid == GridKind::fitted || (o.grid == GridKind::integer && !o.symmetric))) {
    return unsupported("searched scales go with levels that are known, without zero points");
  }
  if (has_groups(o) && o.group < 1) {
    return error(StatusCode::invalid_argument, -1, "a group has at least one column, not %d", o.group);
  }
  return ok();
}

Status check_problem(const EncodeProblem& p) {
  const Status status = check_matrix(p.weight);
  if (failed(status)) return status;
  const int64_t bad = first_non_finite(p.weight);
  if (bad >= 0) return not_finite(bad);
  const int64_t rows = p.weight.rows, cols = p.weight.cols;
  const auto check = [](const char* what, const float* x, int64_t height, int64_t width, bool negative) {
    if (x == nullptr) return error(StatusCode::invalid_argument, -1, "the metric has no %s", what);
    const int64_t i = first_non_finite({x, Dtype::F32, height, width});
    if (i >= 0) {
      return error(StatusCode::invalid_argument, i, "element %lld of the %s is not a finite number",
                   static_cast<long long>(i), what);
    }
    for (int64_t j = 0; !negative && j < height * width; ++j) {
      if (x[j] < 0) {
        return error(StatusCode::invalid_argument, j, "element %lld of the %s is negative", static_cast<long long>(j),
                     what);
      }
    }
    return ok();
  };
  if (p.cross != nullptr) {
    if (p.metric.kind != MetricKind::kfac) return unsupported("a correction needs the second moment of a kfac metric");
    if (!std::isfinite(p.alpha)) return error(StatusCode::invalid_argument, -1, "alpha is not a finite number");
    const Status cross = check("correction", p.cross, cols, cols, true);
    if (failed(cross)) return cross;
  }
  if (p.metric.kind == MetricKind::fisher) return check("Fisher weight", p.metric.fisher, rows, cols, false);
  if (p.metric.kind != MetricKind::kfac) return ok();
  const Status weights = check("row weights", p.metric.row_weight, 1, rows, false);
  if (failed(weights)) return weights;
  const Status moment = check("second moment", p.metric.second_moment, cols, cols, true);
  if (failed(moment)) return moment;
  if (!(p.metric.damping >= 0) || !std::isfinite(p.metric.damping)) {
    return error(StatusCode::invalid_argument, -1, "the damping is negative or not a finite number");
  }
  for (int64_t j = 0; j < cols; ++j) {
    if (p.metric.second_moment[j * cols + j] < 0) {
      return error(StatusCode::invalid_argument, j * cols + j, "the second moment has a negative diagonal");
    }
  }
  return ok();
}

}  // namespace lq::cpu
