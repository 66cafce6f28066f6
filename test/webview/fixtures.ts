/**
 * Checkpoints, plans and reports as the engine would give them, made from real architectures' shapes by a seeded generator,
 * so that every run draws the same pictures.
 */
import type { Plan } from '../../extension/core/allocation/types';
import type { Role } from '../../extension/core/checkpoint/types';
import { paperOption } from '../../extension/core/options/config';
import { describeOption } from '../../extension/core/options/option';
import type { QuantConfig } from '../../extension/core/native';
import type { PreviewReport, SpectrumReport, TensorStatistics } from '../../extension/core/analysis/types';
import type {
  CheckpointView,
  ModelHeader,
  PlanQuery,
  PlanSummary,
  TargetMatrix,
  TensorRow,
} from '../../extension/protocol/panels';

/** Uniform numbers in [0, 1) from a name, the same on every machine. */
export function random(seed: string): () => number {
  let state = 2166136261;
  for (const letter of seed) state = Math.imul(state ^ letter.charCodeAt(0), 16777619);
  return () => {
    state = Math.imul(state ^ (state >>> 15), 2246822507);
    state = Math.imul(state ^ (state >>> 13), 3266489909);
    state ^= state >>> 16;
    return (state >>> 0) / 4294967296;
  };
}
const gaussian = (next: () => number) => Math.sqrt(-2 * Math.log(next() || 1e-12)) * Math.cos(2 * Math.PI * next());

export interface Architecture {
  label: string;
  layers: number;
  hidden: number;
  inner: number;
  kv: number;
  vocabulary: number;
}
export const tiny: Architecture = {
  label: 'tiny-books-4m',
  layers: 4,
  hidden: 256,
  inner: 688,
  kv: 128,
  vocabulary: 2048,
};
export const llama70: Architecture = {
  label: 'Llama-2-70b-hf',
  layers: 80,
  hidden: 8192,
  inner: 28672,
  kv: 1024,
  vocabulary: 32000,
};

const modules: { path: string; role: Role; shape: (a: Architecture) => number[] }[] = [
  { path: 'self_attn.q_proj', role: 'q', shape: a => [a.hidden, a.hidden] },
  { path: 'self_attn.k_proj', role: 'k', shape: a => [a.kv, a.hidden] },
  { path: 'self_attn.v_proj', role: 'v', shape: a => [a.kv, a.hidden] },
  { path: 'self_attn.o_proj', role: 'o', shape: a => [a.hidden, a.hidden] },
  { path: 'mlp.gate_proj', role: 'gate', shape: a => [a.inner, a.hidden] },
  { path: 'mlp.up_proj', role: 'up', shape: a => [a.inner, a.hidden] },
  { path: 'mlp.down_proj', role: 'down', shape: a => [a.hidden, a.inner] },
];

export function targets(a: Architecture): TargetMatrix[] {
  return Array.from({ length: a.layers }, (_unused, layer) =>
    modules.map(module => ({
      name: `model.layers.${layer}.${module.path}.weight`,
      role: module.role,
      layer,
      shape: module.shape(a),
    })),
  ).flat();
}

const product = (shape: readonly number[]) => shape.reduce((total, size) => total * size, 1);

function row(name: string, role: Role, layer: number, shape: number[], file: number): TensorRow {
  const parameters = product(shape);
  return {
    name,
    shape,
    dtype: 'BF16',
    format: 'dense',
    role,
    layer,
    parameters,
    bytes: parameters * 2,
    bitsPerWeight: 16,
    file,
  };
}

function rows(a: Architecture, files: number): TensorRow[] {
  const of = (layer: number) => Math.min(files - 1, Math.floor((layer * files) / a.layers));
  const matrices = targets(a).map(target =>
    row(target.name, target.role, target.layer, target.shape, of(target.layer)),
  );
  const norms = Array.from({ length: a.layers }, (_unused, layer) => [
    row(`model.layers.${layer}.input_layernorm.weight`, 'norm', layer, [a.hidden], of(layer)),
    row(`model.layers.${layer}.post_attention_layernorm.weight`, 'norm', layer, [a.hidden], of(layer)),
  ]).flat();
  return [
    row('lm_head.weight', 'head', -1, [a.vocabulary, a.hidden], files - 1),
    row('model.embed_tokens.weight', 'embedding', -1, [a.vocabulary, a.hidden], 0),
    ...[...matrices, ...norms].sort((x, y) => x.layer - y.layer),
    row('model.norm.weight', 'norm', -1, [a.hidden], files - 1),
  ];
}

export function header(a: Architecture, files = 2): ModelHeader {
  const all = rows(a, files);
  const bytes = all.reduce((sum, tensor) => sum + tensor.bytes, 0);
  return {
    path: `/models/${a.label}`,
    label: a.label,
    version: '1',
    architecture: 'LlamaForCausalLM',
    parameters: bytes / 2,
    dtype: 'BF16',
    bytes,
    bitsPerWeight: 16,
    files,
    tensors: all.length,
    compressed: false,
  };
}

export function compressedHeader(a: Architecture): ModelHeader {
  const dense = header(a);
  return {
    ...dense,
    path: `${dense.path}-lq-2.75`,
    label: `${a.label}-lq-2.75`,
    dtype: 'LQ 2–4 bit + BF16',
    bytes: Math.round(dense.bytes * 0.34),
    bitsPerWeight: 5.44,
    compressed: true,
  };
}

export function checkpointView(a: Architecture, files = 2): CheckpointView {
  const all = rows(a, files);
  const name = (index: number) => `model-0000${index + 1}-of-0000${files}.safetensors`;
  return {
    header: header(a, files),
    canCompute: true,
    files: Array.from({ length: files }, (_unused, index) => {
      const inside = all.filter(tensor => tensor.file === index);
      return {
        path: `/models/${a.label}/${name(index)}`,
        name: name(index),
        bytes: inside.reduce((sum, tensor) => sum + tensor.bytes, 0),
        tensors: inside.length,
        missing: false,
      };
    }),
    metadata: Array.from({ length: files }, (_unused, index) => ({ file: name(index), key: 'format', value: 'pt' })),
    problems: [],
    rows: all,
    statistics: [],
    twins: [],
  };
}

/** Experts of a mixture: `count` tensors in all. */
export function manyTensors(count: number): CheckpointView {
  const view = checkpointView(tiny, 3);
  const experts = Array.from({ length: count - view.rows.length }, (_unused, index) => {
    const layer = Math.floor(index / 384);
    const expert = Math.floor((index % 384) / 3);
    const role = (['gate', 'up', 'down'] as const)[index % 3]!;
    const shape = role === 'down' ? [2048, 768] : [768, 2048];
    return row(`model.layers.${layer}.mlp.experts.${expert}.${role}_proj.weight`, role, layer, shape, layer % 3);
  });
  const all = [...view.rows, ...experts];
  return { ...view, rows: all, header: { ...view.header, label: 'mixture-of-experts', tensors: all.length } };
}

export const hostileName =
  `<img src=x onerror="window.__pwned=1"><script>window.__pwned=1</script>"'\`\u202e\u0000` + 'x'.repeat(10_000);

export function hostileView(): CheckpointView {
  const view = checkpointView(tiny);
  const evil = { ...view.rows[2]!, name: hostileName };
  return {
    ...view,
    header: { ...view.header, label: hostileName, architecture: hostileName, dtype: hostileName },
    files: [{ ...view.files[0]!, name: hostileName }, view.files[1]!],
    rows: [evil, ...view.rows],
    metadata: [
      { file: hostileName, key: hostileName, value: `<script>window.__pwned=1</script>${'y'.repeat(100_000)}` },
    ],
    problems: [{ severity: 'error', code: 'tensor-hole', message: hostileName, tensor: hostileName }],
  };
}

export function statistics(tensor: TensorRow): TensorStatistics {
  const next = random(tensor.name);
  const stddev = 0.02 + 0.03 * next();
  const absmax = stddev * (6 + 8 * next());
  const bins = 64;
  const counts = Array.from({ length: bins }, (_unused, index) => {
    const z = (((index + 0.5) / bins) * 2 - 1) * (absmax / stddev);
    const density = 0.9 * Math.exp(-(z * z) / 2) + 0.1 * Math.exp(-Math.abs(z));
    return Math.round(density * tensor.parameters * 0.06 * (0.9 + 0.2 * next()));
  });
  const norms = { min: stddev * 9, max: stddev * 31, mean: stddev * 16, zero: 0 };
  return {
    name: tensor.name,
    dtype: tensor.dtype,
    shape: tensor.shape,
    count: tensor.parameters,
    zeros: Math.round(next() * 40),
    nans: 0,
    infs: 0,
    firstNan: -1,
    firstInf: -1,
    min: -absmax * 0.93,
    max: absmax,
    mean: stddev * 0.01,
    stddev,
    absmax,
    kurtosis: 3 + 4 * next(),
    histogram: { low: -absmax, high: absmax, counts, sampled: tensor.parameters },
    rowNorms: norms,
    colNorms: norms,
  };
}

export function spectrum(tensor: TensorRow, count: number): SpectrumReport {
  const full = Math.min(...tensor.shape);
  const all = Array.from({ length: full }, (_unused, index) => 9 * Math.pow(index + 1, -0.45) * (1.02 - index / full));
  const energy = all.reduce((sum, value) => sum + value * value, 0);
  const rank = (share: number) => {
    let sum = 0;
    return all.findIndex(value => (sum += value * value) >= share * energy) + 1;
  };
  return {
    name: tensor.name,
    values: all.slice(0, count),
    energy,
    rankFor: [0.5, 0.9].map(share => ({ share, rank: rank(share) })),
    suggestedRank: Math.min(32, full),
  };
}

export function preview(tensor: TensorRow, height: number, width: number): PreviewReport {
  const next = random(tensor.name);
  const columns = Array.from({ length: width }, () => 0.7 + 0.6 * next() + (next() > 0.97 ? 1.5 : 0));
  const mean = Array.from(
    { length: height * width },
    (_unused, index) => gaussian(next) * 0.02 * columns[index % width]!,
  );
  const spread = mean.map((_unused, index) => 0.05 * columns[index % width]! * (0.8 + 0.4 * next()));
  return {
    name: tensor.name,
    rows: height,
    cols: width,
    mean,
    minimum: mean.map((value, index) => value - spread[index]!),
    maximum: mean.map((value, index) => value + spread[index]!),
  };
}

// --- Planning: a greedy stand-in for the solver, good enough to move like the real one -----------------------------

const ladder: { config: QuantConfig; bits: number }[] = [2, 3, 4].flatMap(b0 =>
  (
    [
      [2, 64, 256],
      [3, 32, 64],
      [4, 16, 16],
    ] as const
  ).map(([b1, B0, B1]) => ({
    config: { b0, b1, b2: 'bf16' as const, B0, B1 },
    bits: b0 + b1 / B0 + 16 / (B0 * B1),
  })),
);

const sensitivities = new Map<string, number>();
function sensitivity(target: TargetMatrix, layers: number): number {
  const key = `${layers} ${target.name}`;
  const known = sensitivities.get(key);
  if (known !== undefined) return known;
  const byRole: Partial<Record<Role, number>> = { v: 6, k: 2, o: 2.2, down: 2.6, gate: 1.1, up: 1.2, q: 1 };
  const ends = 1 + 1.6 * Math.exp(-target.layer / 2) + 0.8 * Math.exp(-(layers - 1 - target.layer) / 2);
  const value = (byRole[target.role] ?? 1) * ends * (0.8 + 0.4 * random(target.name)());
  sensitivities.set(key, value);
  return value;
}

const matches = (glob: string, name: string) =>
  new RegExp(`^${glob.replace(/[.+^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`).test(name);

export function makePlan(a: Architecture, query: PlanQuery): { plan: Plan; relativeError: number } {
  const all = targets(a);
  const total = all.reduce((sum, target) => sum + product(target.shape), 0);
  const rank = a === tiny ? 8 : 64;
  const factorBits = (target: TargetMatrix) =>
    (rank * 8.13 * (target.shape[0]! + target.shape[1]!)) / product(target.shape);
  const overhead = all.reduce((sum, target) => sum + factorBits(target) * product(target.shape), 0) / total;
  const kept = header(a).bytes - total * 2;
  const bits =
    query.budget.kind === 'bits'
      ? query.budget.value
      : query.budget.kind === 'effective-bits'
        ? query.budget.value - overhead
        : ((query.budget.value - kept) * 8) / total - overhead;
  const cost = (target: TargetMatrix, option: number) =>
    sensitivity(target, a.layers) * Math.pow(4, -ladder[option]!.bits) * product(target.shape) * 1e-2;
  const allowed = (target: TargetMatrix, option: number) =>
    query.overrides.every(
      rule =>
        !matches(rule.match, target.name) ||
        (ladder[option]!.config.b0 >= (rule.minBits ?? 0) && ladder[option]!.config.b0 <= (rule.maxBits ?? 99)),
    );
  const options = all.map(target => ladder.map((_unused, index) => index).filter(index => allowed(target, index)));
  // Bisect on the multiplier: every matrix takes its best option at the price of a bit.
  let low = 1e-12;
  let high = 1e3;
  const costs = all.map(target => ladder.map((_unused, option) => cost(target, option)));
  const sizes = all.map(target => product(target.shape));
  const choose = (price: number) =>
    all.map((_target, index) =>
      options[index]!.reduce((best, option) => {
        const value = (o: number) => costs[index]![o]! + price * ladder[o]!.bits * sizes[index]!;
        return value(option) < value(best) ? option : best;
      }, options[index]![0]!),
    );
  const size = (chosen: number[]) =>
    chosen.reduce((sum, option, index) => sum + ladder[option]!.bits * sizes[index]!, 0) / total;
  for (let step = 0; step < 40; step++) {
    const middle = Math.sqrt(low * high);
    if (size(choose(middle)) > bits) low = middle;
    else high = middle;
  }
  const chosen = choose(high);
  const objective = chosen.reduce((sum, option, index) => sum + cost(all[index]!, option), 0);
  const achieved = size(chosen);
  return {
    relativeError: Math.sqrt(objective / (total * 0.2)),
    plan: {
      budget: query.budget,
      factors: query.factors,
      bits: achieved,
      effectiveBits: achieved + overhead,
      bytes: Math.round(kept + ((achieved + overhead) * total) / 8),
      objective,
      bound: objective * (1 - 3e-5),
      gap: 3e-5,
      optimal: false,
      seconds: 0.02,
      matrices: chosen.map((option, index) => {
        const target = all[index]!;
        const { config, bits: own } = ladder[option]!;
        return {
          name: target.name,
          option: paperOption(config, rank),
          label: describeOption(paperOption(config, rank)),
          rate: config.b0,
          bits: own,
          effectiveBits: own + factorBits(target),
          bytes: Math.round(((own + factorBits(target)) * product(target.shape)) / 8),
          cost: cost(target, option),
          predicted: false,
          choice: option,
        };
      }),
    },
  };
}

export function curve(a: Architecture, query: Omit<PlanQuery, 'budget'>): PlanSummary[] {
  return Array.from({ length: 33 }, (_unused, index) => {
    const { plan, relativeError } = makePlan(a, {
      ...query,
      budget: { kind: 'bits', value: 2.0323 + (index * 2.36) / 32 },
    });
    const { budget, bits, effectiveBits, bytes, objective } = plan;
    return { budget, bits, effectiveBits, bytes, objective, relativeError };
  });
}
