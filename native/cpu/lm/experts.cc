#include "lm/experts.h"

#include <algorithm>

#include "lm/half.h"
#include "lm/kernels.h"
#include "lm/sums.h"

namespace lq::lm {
namespace {

// Weights held at a time, unless one expert alone has more: 256 MiB.
constexpr int64_t kMostFloats = int64_t{64} << 20;
// Rows of a piece, as of Batch::for_rows.
constexpr int64_t kMostRows = 512, kFewestRows = 16;

int64_t weight_floats(const LanguageModelConfig& c) { return 3 * int64_t{c.moe.intermediate} * c.hidden; }

// Experts that are worked on together: their tokens fit buffers of a batch's rows, their weights the memory above.
struct Group {
  std::vector<int32_t> experts;
  std::vector<ExpertWeights> weights;
  int64_t begin, end;  // of Routing::by_expert
};

// Part of an expert's pairs: [first, first + count) of Routing::by_expert.
struct Piece {
  int32_t expert;
  const ExpertWeights* weights;
  int64_t first, count;
};

void for_groups(const Batch& batch, const Routing& r, ExpertSource* source, cpu::FunctionRef<void(const Group&)> fn) {
  const int64_t experts = batch.config.moe.experts;
  const int64_t most = std::max<int64_t>(kMostFloats / weight_floats(batch.config), 1);
  for (int64_t e = 0; e < experts;) {
    Group group{{}, {}, r.begin[e], r.begin[e]};
    for (; e < experts; ++e) {
      if (r.count(e) == 0) continue;
      const bool full =
          static_cast<int64_t>(group.experts.size()) == most || r.begin[e + 1] - group.begin > batch.rows();
      if (full && !group.experts.empty()) break;
      group.experts.push_back(static_cast<int32_t>(e));
      group.end = r.begin[e + 1];
    }
    if (group.experts.empty()) break;
    batch.check();
    group.weights.resize(group.experts.size());
    source->load(batch, group.experts.data(), static_cast<int64_t>(group.experts.size()), group.weights.data());
    fn(group);
  }
}

void for_pieces(const Batch& batch, const Routing& r, const Group& group,
                cpu::FunctionRef<void(const Piece&, int32_t)> fn) {
  const int64_t threads = cpu::threads(), pairs = group.end - group.begin;
  const int64_t rows = std::clamp((pairs + threads - 1) / threads, kFewestRows, kMostRows);
  std::vector<Piece> pieces;
  for (size_t i = 0; i < group.experts.size(); ++i) {
    const int32_t e = group.experts[i];
    for (int64_t first = r.begin[e]; first < r.begin[e + 1]; first += rows) {
      pieces.push_back({e, &group.weights[i], first, std::min(rows, r.begin[e + 1] - first)});
    }
  }
  batch.for_each(static_cast<int64_t>(pieces.size()), [&](int64_t i, int32_t slot) { fn(pieces[i], slot); });
}

// out [count, hidden] = the rows of x of a piece's pairs, each times its weight when `weights` [pairs] is given.
void gather(const Batch& batch, const Routing& r, const Piece& p, const float* x, const float* weights, float* out) {
  const int64_t hidden = batch.config.hidden;
  for (int64_t i = 0; i < p.count; ++i) {
    std::copy_n(x + r.row(p.first + i) * hidden, hidden, out + i * hidden);
    if (weights != nullptr) kernels().scale(weights[r.by_expert[p.first + i]], hidden, out + i * hidden);
  }
}

void project_up(const Batch& batch, const ExpertWeights& w, const float* x, int64_t rows, float* gate, float* up) {
  const int64_t hidden = batch.config.hidden, inner = batch.config.moe.intermediate;
  const Batch::Input input = batch.input(x, rows, hidden);
  project(batch, input, w.gate, w.gate_bias, inner, gate);
  project(batch, input, w.up, w.up_bias, inner, up);
}

void activate(const LanguageModelConfig& c, const float* gate, const float* up, int64_t n, float* out) {
  const MoeConfig& m = c.moe;
  if (m.clamp_limit > 0) {
    kernels().activate_clamped({static_cast<float>(m.clamp_limit), static_cast<float>(m.clamp_alpha)}, gate, up, n,
                               out);
  } else {
    kernels().activate(c.mlp.activation, gate, up, n, out);
  }
}

void activate_backward(const LanguageModelConfig& c, const float* d, int64_t n, float* gate, float* up, float* act) {
  const MoeConfig& m = c.moe;
  if (m.clamp_limit > 0) {
    kernels().activate_clamped_backward({static_cast<float>(m.clamp_limit), static_cast<float>(m.clamp_alpha)}, d, n,
                                        gate, up, act);
  } else {
    kernels().activate_backward(c.mlp.activation, d, n, gate, up, act);
  }
}

// What backward, and moments, keep of a group's pairs.
struct GroupBuffers {
  float *x, *d;            // [pairs, hidden]
  float *gate, *up, *act;  // [pairs, intermediate]
};

GroupBuffers place_group(const Batch& batch, const Group& group) {
  const int64_t hidden = batch.config.hidden, inner = batch.config.moe.intermediate;
  const int64_t pairs = group.end - group.begin;
  GroupBuffers b{};
  b.x = batch.shared(Shared::group, pairs * (2 * hidden + 3 * inner));
  b.d = b.x + pairs * hidden;
  b.gate = b.d + pairs * hidden;
  b.up = b.gate + pairs * inner;
  b.act = b.up + pairs * inner;
  return b;
}

}  // namespace

bool ExpertSums::any_gradient() const {
  return std::any_of(squares.begin(), squares.end(), [](const float* p) { return p != nullptr; }) ||
         std::any_of(row_squares.begin(), row_squares.end(), [](const double* p) { return p != nullptr; });
}

int64_t routed_floats(const LanguageModelConfig& c) {
  const MoeConfig& m = c.moe;
  if (m.experts == 0) return 0;
  const int64_t pairs = int64_t{m.top_k} * (c.hidden + 4), group = 2 * int64_t{c.hidden} + 3 * int64_t{m.intermediate};
  return pairs + group + 3 * int64_t{c.hidden} + m.experts;
}

void forward_experts(const Batch& batch, const Routing& r, ExpertSource* source, const float* x, const ExpertSums* sums,
                     float* out) {
  const LanguageModelConfig& c = batch.config;
  const int64_t hidden = c.hidden, inner = c.moe.intermediate;
  const float* before = c.moe.scale_input ? r.weights.data() : nullptr;
  for_groups(batch, r, source, [&](const Group& group) {
    const bool keep = sums != nullptr && std::any_of(group.experts.begin(), group.experts.end(),
                                                     [&](int32_t e) { return sums[e].any_moment(); });
    const GroupBuffers kept = keep ? place_group(batch, group) : GroupBuffers{};
    for_pieces(batch, r, group, [&](const Piece& p, int32_t slot) {
      const int64_t at = p.first - group.begin;
      float* scratch = batch.scratch(slot, p.count * (2 * hidden + 3 * inner));
      float* gathered = keep ? kept.x + at * hidden : scratch;
      float* y = scratch + p.count * hidden;
      float* gate = y + p.count * hidden;
      float* up = gate + p.count * inner;
      float* act = keep ? kept.act + at * inner : up + p.count * inner;
      gather(batch, r, p, x, before, gathered);
      project_up(batch, *p.weights, gathered, p.count, gate, up);
      activate(c, gate, up, p.count * inner, act);
      project(batch, act, p.weights->down, p.weights->down_bias, p.count, inner, hidden, y);
      for (int64_t i = 0; i < p.count; ++i) {
        const int64_t pair = r.by_expert[p.first + i];
        std::copy_n(y + i * hidden, hidden, out + pair * hidden);
        if (before == nullptr) kernels().scale(r.weights[pair], hidden, out + pair * hidden);
      }
    });
    if (!keep) return;
    std::vector<MomentFactors> moments;
    for (const int32_t e : group.experts) {
      const int64_t at = r.begin[e] - group.begin;
      const float *mlp = kept.x + at * hidden, *down = kept.act + at * inner;
      moments.push_back({mlp, mlp, hidden, true, sums[e].moments[0], r.count(e)});
      moments.push_back({down, down, inner, true, sums[e].moments[1], r.count(e)});
    }
    accumulate_moments(batch, moments);
  });
}

void backward_experts(const Batch& batch, const Routing& r, ExpertSource* source, const float* x, const float* d,
                      const ExpertSums* sums, float* dx, float* d_weights) {
  const LanguageModelConfig& c = batch.config;
  const int64_t hidden = c.hidden, inner = c.moe.intermediate;
  const float* before = c.moe.scale_input ? r.weights.data() : nullptr;
  for_groups(batch, r, source, [&](const Group& group) {
    const GroupBuffers kept = place_group(batch, group);
    for_pieces(batch, r, group, [&](const Piece& p, int32_t slot) {
      const ExpertWeights& w = *p.weights;
      const int64_t at = p.first - group.begin;
      float* gathered = kept.x + at * hidden;
      float* d_out = kept.d + at * hidden;
      float *gate = kept.gate + at * inner, *up = kept.up + at * inner, *act = kept.act + at * inner;
      float* d_act = batch.scratch(slot, p.count * (inner + hidden));
      float* d_in = d_act + p.count * inner;
      gather(batch, r, p, x, before, gathered);
      gather(batch, r, p, d, nullptr, d_out);
      project_up(batch, w, gathered, p.count, gate, up);
      batch.linear_backward(d_out, w.down, p.count, inner, hidden, false, d_act);
      activate_backward(c, d_act, p.count * inner, gate, up, act);
      if (before == nullptr) {
        // The weight multiplies what the expert gives, down(act) + bias: its gradient is that times d. What lies before
        // is linear in d.
        for (int64_t i = 0; i < p.count; ++i) {
          const int64_t pair = r.by_expert[p.first + i];
          double sum = kernels().dot(d_act + i * inner, act + i * inner, inner);
          if (w.down_bias != nullptr) sum += kernels().dot(d_out + i * hidden, w.down_bias, hidden);
          d_weights[pair] = static_cast<float>(sum);
          kernels().scale(r.weights[pair], inner, gate + i * inner);
          kernels().scale(r.weights[pair], inner, up + i * inner);
          kernels().scale(r.weights[pair], hidden, d_out + i * hidden);
        }
      }
      batch.linear_backward(gate, w.gate, p.count, hidden, inner, false, d_in);
      batch.linear_backward(up, w.up, p.count, hidden, inner, true, d_in);
      for (int64_t i = 0; i < p.count; ++i) {
        const int64_t pair = r.by_expert[p.first + i];
        float* out = dx + pair * hidden;
        std::copy_n(d_in + i * hidden, hidden, out);
        if (before != nullptr) {
          d_weights[pair] = static_cast<float>(kernels().dot(out, x + r.row(p.first + i) * hidden, hidden));
          kernels().scale(r.weights[pair], hidden, out);
        }
      }
    });
    if (sums == nullptr) return;
    // Where each sequence's rows begin among an expert's.
    std::vector<std::vector<int64_t>> begins;
    begins.reserve(group.experts.size());
    std::vector<GradientFactors> gradients;
    for (const int32_t e : group.experts) {
      if (!sums[e].any_gradient()) continue;
      std::vector<int64_t>& begin = begins.emplace_back();
      int64_t i = r.begin[e];
      for (int64_t s = 0; s <= batch.sequences; ++s) {
        while (i < r.begin[e + 1] && r.row(i) < s * batch.context) ++i;
        begin.push_back(i - r.begin[e]);
      }
      const int64_t at = r.begin[e] - group.begin;
      const float* mlp = kept.x + at * hidden;
      const auto add = [&](WeightKind part, const float* dy, const float* of, int64_t out, int64_t in) {
        const auto* const stored = std::find(kExpertMatrices.begin(), kExpertMatrices.end(), stored_in(c, part, e));
        const auto to = static_cast<size_t>(stored - kExpertMatrices.begin());
        if (sums[e].squares[to] == nullptr && sums[e].row_squares[to] == nullptr) return;
        gradients.push_back(
            {dy, of, out, in, rows_in(c, part, out, e), sums[e].squares[to], sums[e].row_squares[to], begin.data()});
      };
      add(WeightKind::gate, kept.gate + at * inner, mlp, inner, hidden);
      add(WeightKind::up, kept.up + at * inner, mlp, inner, hidden);
      add(WeightKind::down, kept.d + at * hidden, kept.act + at * inner, hidden, inner);
    }
    accumulate_squares(batch, gradients);
  });
}

void add_pairs(const Batch& batch, const Routing& r, const float* pairs, int64_t first, int64_t count, float* y) {
  const int64_t hidden = batch.config.hidden;
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t k = 0; k < r.top_k; ++k) {
      kernels().add(pairs + ((first + i) * r.top_k + k) * hidden, hidden, y + i * hidden);
    }
  }
}

void expert_inputs(const Batch& batch, const Routing& r, const Routing& weighing, ExpertSource* source, int64_t expert,
                   const float* x, float* mlp, float* down) {
  const LanguageModelConfig& c = batch.config;
  const int64_t hidden = c.hidden, inner = c.moe.intermediate;
  if (r.count(expert) == 0) return;
  ExpertWeights weights{};
  const auto number = static_cast<int32_t>(expert);
  if (down != nullptr) source->load(batch, &number, 1, &weights);
  const Group group{{number}, {weights}, r.begin[expert], r.begin[expert + 1]};
  for_pieces(batch, r, group, [&](const Piece& p, int32_t slot) {
    const int64_t at = p.first - group.begin;
    float* scratch = batch.scratch(slot, p.count * (hidden + 2 * inner));
    float* gathered = mlp != nullptr ? mlp + at * hidden : scratch;
    gather(batch, r, p, x, nullptr, gathered);
    for (int64_t i = 0; i < p.count && c.moe.scale_input; ++i) {
      kernels().scale(lone_weight(c, weighing, r.row(p.first + i), expert), hidden, gathered + i * hidden);
    }
    if (down == nullptr) return;
    float* gate = scratch + p.count * hidden;
    float* up = gate + p.count * inner;
    project_up(batch, *p.weights, gathered, p.count, gate, up);
    activate(c, gate, up, p.count * inner, down + at * inner);
  });
}

}  // namespace lq::lm
