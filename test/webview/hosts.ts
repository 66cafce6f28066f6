/** Hosts that answer as the real one would, from fixtures. Each test may replace single answers. */
import type { SweepRecipe } from '../../extension/core/options/recipe';
import type { Handlers } from '../../extension/protocol/channel';
import type { CompareReport } from '../../extension/core/analysis/types';
import type { CompressReport, EstimateReport } from '../../extension/core/reports';
import type { CompressRequest } from '../../extension/core/requests/requests';
import type {
  AllocationRequests,
  AllocationView,
  CheckpointRequests,
  CheckpointView,
  CommonRequests,
  CompareRequests,
  CompressRequests,
  CompressView,
  HeatmapRequests,
  HeatmapView,
  HeatValue,
  JobState,
  JobView,
  Metric,
  PerplexityRequests,
  PerplexityRun,
  PerplexityView,
  PlanQuery,
  WhatIf,
} from '../../extension/protocol/panels';
import {
  compressedHeader,
  curve,
  header,
  makePlan,
  preview,
  random,
  spectrum,
  statistics,
  targets,
  tiny,
  type Architecture,
} from './fixtures';

/** Fixed, so that screenshots of equal panels are equal. */
const TODAY = Date.UTC(2026, 4, 12, 9, 30);

export const common: Handlers<CommonRequests> = {
  save: ({ name }) => ({ path: `/home/me/${name}` }),
  copy: () => null,
  copyCommand: command => ({ text: `lq-studio ${command.command}` }),
  navigate: () => null,
  openPath: () => null,
  pick: ({ what }) => ({ path: `/data/${what}.txt` }),
  jobs: () => [],
  cancelJob: () => null,
  resumeJob: () => null,
  removeJob: () => null,
};

/** @param emit sends statistics as the host does: as events, before the answer. */
export function checkpointHost(
  view: CheckpointView,
  emit: (values: ReturnType<typeof statistics>[]) => void,
): Handlers<CheckpointRequests> {
  const find = (name: string) => view.rows.find(row => row.name === name)!;
  return {
    ...common,
    load: () => view,
    statistics: ({ tensor }, { progress }) => {
      const wanted = tensor === undefined ? view.rows : [find(tensor)];
      emit(wanted.map(statistics));
      progress({ stage: 'statistics', done: wanted.length, total: wanted.length });
      return { computed: wanted.length };
    },
    spectrum: ({ tensor, count }) => spectrum(find(tensor), count ?? 256),
    preview: ({ tensor, rows, cols }) => preview(find(tensor), rows, cols),
    twin: ({ tensor, rows, cols }) => {
      const own = preview(find(tensor), rows, cols);
      return {
        model: view.twin?.path ?? '',
        name: tensor,
        config: { b0: 3, b1: 4, b2: 'bf16', B0: 32, B1: 64 },
        rank: 8,
        bits: 3.13,
        effectiveBits: 3.41,
        errorQuantized: 0.123,
        errorLq: 0.097,
        errorStored: 0.0975,
        difference: { rows, cols, mean: own.mean.map(value => value * 0.1), relativeError: 0.0975, maxAbsolute: 0.031 },
        preview: { ...own, mean: own.mean.map(value => value * 0.98) },
      };
    },
  };
}

const RECIPE: SweepRecipe = {
  method: 'lq-lora',
  metric: { kind: 'fisher', statistics: '0123456789abcdef' },
  loop: { scales: 'sqrt-of-means', iterations: 25, patience: 1, oversampling: 10, powerIterations: 2 },
  seed: 0,
};

const form: CompressRequest = {
  model: '/models/tiny-books-4m',
  out: '/models/tiny-books-4m-lq-2.75',
  budget: { kind: 'bits', value: 2.75 },
  method: 'lq-lora',
  ranks: [8],
  calibration: '/data/calib.txt',
  samples: 64,
  factors: 'nf8',
  evalText: '/data/eval.txt',
  context: 512,
};

export function compressView(...jobs: JobState[]): CompressView {
  return {
    header: header(tiny),
    canCompute: true,
    targets: targets(tiny),
    devices: [{ id: 'cpu', name: 'CPU, 8 cores', detail: 'AVX-512', memoryTotal: 32e9, memoryFree: 21e9 }],
    form,
    jobs,
  };
}

export const runningJob: JobState = {
  id: 'job-1',
  method: 'compress',
  title: 'Compress tiny-books-4m',
  model: '/models/tiny-books-4m',
  state: 'running',
  elsewhere: false,
  resumable: false,
  request: form,
  created: TODAY,
  started: TODAY,
  progress: {
    stage: 'sweep',
    item: 'model.layers.2.mlp.up_proj.weight',
    done: 1_759_000,
    total: 2_899_968,
    count: { done: 16, total: 28 },
    device: 'CPU, 8 cores',
    whole: {
      stages: ['baseline', 'fisher', 'sweep', 'decompose', 'evaluate'],
      at: 2,
      share: 0.614,
      elapsed: 54,
      secondsLeft: 34,
    },
  },
};

export const sweepJob: JobView = {
  id: 'sweep-1',
  method: 'sweep',
  title: 'Measure costs of tiny-books-4m',
  model: '/models/tiny-books-4m',
  state: 'running',
  elsewhere: false,
  resumable: false,
  created: TODAY,
  started: TODAY,
  progress: { stage: 'sweep', done: 300_000, total: 2_899_968, count: { done: 3, total: 28 } },
};

export function compressReport(): CompressReport {
  const { plan } = makePlan(tiny, { budget: form.budget, factors: 'nf8', overrides: [] });
  const { matrices, seconds: _unused, ...summary } = plan;
  return {
    ...summary,
    model: form.model,
    output: form.out,
    recipe: RECIPE,
    matrices: matrices.map(row => {
      const alone = 0.62 * Math.pow(2, -row.bits * 0.95) * (0.9 + 0.2 * random(row.name)());
      return { ...row, errorQuantized: alone, errorLq: alone * 0.8, errorStored: alone * 0.803 };
    }),
    before: { perplexity: 20.578, bytes: header(tiny).bytes },
    after: { perplexity: 24.312, bytes: plan.bytes },
    seconds: { fisher: 18.2, sweep: 61.4, plan: 0.1, decompose: 9.7, write: 0.3, evaluate: 22.9 },
    warnings: ['3 matrices use NF2, a coarse and lopsided code book.'],
  };
}

export const doneJob = (): JobState => ({
  ...runningJob,
  state: 'done',
  ended: TODAY + 112_000,
  report: compressReport(),
});

export const failedJob: JobState = {
  ...runningJob,
  state: 'interrupted',
  resumable: true,
  ended: TODAY + 60_000,
  error: {
    code: 'engine-died',
    message: 'The engine ended with signal SIGKILL while sweeping model.layers.2.mlp.up_proj.weight',
  },
};

const estimate = (request: CompressRequest): EstimateReport => ({
  matrices: 28,
  parameters: 2_899_968,
  seconds: {
    baseline: request.evalText ? 12 : 0,
    fisher: request.calibration ? 19 : 0,
    sweep: 64,
    decompose: 11,
    evaluate: request.evalText ? 12 : 0,
  },
  peakMemory: 412e6,
  outputBytes: request.format === 'dense' ? 7.9e6 : 3.2e6,
  feasible: request.budget.kind === 'bytes' ? { minimum: 2.9e6, maximum: 3.9e6 } : { minimum: 2.0322, maximum: 4.375 },
  problems:
    request.budget.value < 2.0322
      ? [{ field: 'budget', code: 'budget-infeasible', message: 'A budget of 1.5 bits cannot be met.' }]
      : [],
  coverage: {
    weights: 2_899_968,
    blockWeights: 2_902_016,
    left: [
      {
        reason: 'norms, biases and other vectors',
        tensors: 8,
        weights: 2048,
        example: 'model.layers.0.input_layernorm.weight',
      },
    ],
  },
});

export function compressHost(view: CompressView): Handlers<CompressRequests> {
  return {
    ...common,
    load: () => view,
    estimate,
    match: ({ include, exclude }) => {
      const test = (globs: string[] | undefined, name: string) =>
        (globs ?? []).some(glob => new RegExp(`^${glob.replaceAll('.', '\\.').replaceAll('*', '.*')}$`).test(name));
      const chosen = view.targets.filter(({ name }) => (!include || test(include, name)) && !test(exclude, name));
      const parameters = chosen.reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0);
      return { names: chosen.map(({ name }) => name), parameters };
    },
    start: request => ({ ...runningJob, request }),
  };
}

const metrics: Metric[] = [
  {
    id: 'relative-error',
    label: 'Relative error',
    unit: '',
    about: '||W − W′|| / ||W||, as stored.',
    scale: 'sequential',
    log: true,
    status: 'ready',
  },
  {
    id: 'bits',
    label: 'Bits',
    unit: 'bits per weight',
    about: 'Codes and scales over weights.',
    scale: 'sequential',
    log: false,
    status: 'ready',
  },
  {
    id: 'low-rank-gain',
    label: 'Gain of low-rank',
    unit: '',
    about: 'Share of the error that the factors take away.',
    scale: 'diverging',
    log: false,
    status: 'ready',
  },
  {
    id: 'kurtosis',
    label: 'Kurtosis',
    unit: '',
    about: 'Fourth standardised moment: 3 for a Gaussian.',
    scale: 'sequential',
    log: true,
    status: 'compute',
  },
  {
    id: 'fisher-mass',
    label: 'Fisher mass',
    unit: '',
    about: 'Sum of the Fisher information of a matrix.',
    scale: 'sequential',
    log: true,
    status: { needs: 'Compress with a calibration text first.', action: { to: 'compress', model: '/models/tiny' } },
  },
];

export function heatmapView(a: Architecture): HeatmapView {
  const all = targets(a);
  const rows = [...new Set(all.map(({ role }) => role))];
  return {
    header: header(a),
    compressed: compressedHeader(a),
    rows,
    layers: Array.from({ length: a.layers }, (_unused, layer) => layer),
    cells: all.map(target => ({
      name: target.name,
      row: rows.indexOf(target.role),
      column: target.layer,
      shape: target.shape,
    })),
    metrics,
    metric: 'relative-error',
  };
}

export function heatmapHost(view: HeatmapView): Handlers<HeatmapRequests> {
  const values = (metric: string, factor: number): HeatValue[] =>
    view.cells.map((cell, index) => {
      if (index === 5) return 'nan';
      if (index === 9) return null;
      const depth = cell.column / view.layers.length;
      const value =
        factor *
        (0.05 + 0.1 * Math.abs(Math.sin(cell.row * 1.7)) + 0.12 * Math.exp(-depth * 6)) *
        (0.8 + 0.4 * random(cell.name + metric)());
      return metric === 'low-rank-gain' ? value - 0.09 : value;
    });
  return {
    ...common,
    load: () => view,
    values: ({ metric }) => ({ metric, original: values(metric, 0.4), compressed: values(metric, 1) }),
    external: ({ file = '/data/loss.json' }) => ({
      file,
      metric: { ...metrics[0]!, id: `external:${file}`, label: 'loss.json', scale: 'sequential' },
    }),
  };
}

export function allocationView(a: Architecture): AllocationView {
  const { plan, relativeError } = makePlan(a, { budget: { kind: 'bits', value: 3 }, factors: 'nf8', overrides: [] });
  const { budget, bits, effectiveBits, bytes, objective } = plan;
  return {
    header: header(a, a === tiny ? 2 : 15),
    canCompute: true,
    sweep: {
      recipe: RECIPE,
      options: 243,
      rank: a === tiny ? 8 : 64,
      file: '/storage/sweeps/tiny.json',
      fisher: '/cache/fisher.safetensors',
      device: 'CPU, 8 cores',
      seconds: 61,
      date: TODAY,
      targets: targets(a).map(target => ({ ...target, norm: 100, weightedNorm: 1 })),
    },
    factors: 'nf8',
    budget: { kind: 'bits', value: 2.75 },
    overrides: [],
    current: { budget, bits, effectiveBits, bytes, objective, relativeError, name: `${a.label}-lq` },
    measured: [2.4, 2.8, 3.2].map((value, index) => {
      const at = makePlan(a, { budget: { kind: 'bits', value }, factors: 'nf8', overrides: [] }).plan;
      return {
        effectiveBits: at.effectiveBits,
        bytes: at.bytes,
        perplexity: [31.2, 24.3, 22.1][index]!,
        label: `${value} bits`,
        overrides: [],
      };
    }),
  };
}

/** The rank of the view, and one more that costs bytes and saves error. */
function whatIf(a: Architecture, query: Omit<PlanQuery, 'budget'>): WhatIf {
  const bits = [2.25, 2.5, 2.75, 3, 3.25, 3.5, 4];
  const plans = bits.map(value => {
    const { plan, relativeError } = makePlan(a, { ...query, budget: { kind: 'bits', value } });
    const { budget, bits: achieved, effectiveBits, bytes, objective } = plan;
    return { budget, bits: achieved, effectiveBits, bytes, objective, relativeError };
  });
  const { rank } = allocationView(a).sweep!;
  const more = plans.map(plan => ({
    ...plan,
    effectiveBits: plan.effectiveBits + 0.3,
    bytes: Math.round(plan.bytes * 1.03),
    relativeError: plan.relativeError * 0.93,
  }));
  return {
    bits,
    rows: [
      { rank, file: '/storage/sweeps/tiny.json', plans },
      { rank: 2 * rank, file: '/storage/sweeps/more.json', plans: [null, ...more.slice(1)] },
    ],
  };
}

export function allocationHost(
  a: Architecture,
  view: AllocationView = allocationView(a),
): Handlers<AllocationRequests> {
  return {
    ...common,
    load: () => view,
    plan: ({ quick, ...query }) => {
      const answer = makePlan(a, query);
      return { ...answer, plan: { ...answer.plan, optimal: !quick } };
    },
    curve: query => ({ points: curve(a, query) }),
    use: () => null,
    whatIf: query => whatIf(a, query),
    choose: ({ file, budget, overrides }) => ({
      ...view,
      budget,
      overrides,
      sweep: { ...view.sweep!, file, rank: 32 },
    }),
    sweep: () => ({ job: 'sweep-1' }),
  };
}

export function perplexityView(): PerplexityView {
  const base = {
    model: form.model,
    text: '/data/eval.txt',
    tokens: 190_000,
    windows: 371,
    context: 512,
    bos: false,
    seconds: 23,
    device: 'CPU',
    warnings: [],
  };
  const run = (bits: number, perplexity: number, weighting: string): PerplexityRun => ({
    ...base,
    model: `/models/tiny-books-4m-lq-${bits}`,
    id: `${weighting}-${bits}`,
    label: `${bits} bits, ${weighting}`,
    perplexity,
    dense: false,
    bits,
    effectiveBits: bits + 0.42,
    bytes: 2.5e6 + bits * 0.36e6,
    date: TODAY + bits * 1e6,
    recipe: [
      { key: 'method', value: 'LQ' },
      { key: 'budget', value: `${bits} bits` },
      { key: 'rank', value: '8' },
      { key: 'weighting', value: weighting },
      { key: 'calibration', value: '/data/calib.txt, 64 × 512 tokens', path: '/data/calib.txt' },
      { key: 'factors', value: 'NF8' },
      { key: 'seed', value: '0' },
    ],
    weighting: weighting === 'Fisher' ? 'fisher' : 'plain',
    reference: {
      model: form.model,
      perplexity: 20.578,
      kl: { mean: 0.52 / bits, p99: 4.1 / bits },
      sameTop: 0.6 + bits / 20,
    },
    request: { ...form, budget: { kind: 'bits', value: bits } },
  });
  const points: [number, number, number][] = [
    [2.25, 44.1, 58.9],
    [2.5, 33.2, 41.0],
    [2.75, 26.9, 30.4],
    [3, 24.3, 25.6],
    [3.5, 22.0, 22.4],
    [4, 21.1, 21.3],
  ];
  return {
    header: header(tiny),
    canCompute: true,
    runs: [
      {
        ...base,
        id: 'dense',
        label: 'tiny-books-4m',
        perplexity: 20.578,
        dense: true,
        bits: 16,
        effectiveBits: 16,
        bytes: 7.9e6,
        date: TODAY,
        recipe: [],
      },
      ...points.map(([bits, fisher]) => run(bits, fisher, 'Fisher')),
      ...points.map(([bits, , plain]) => run(bits, plain, 'plain')),
    ],
    models: [
      { path: form.model, label: 'tiny-books-4m (dense)' },
      { path: form.out, label: 'tiny-books-4m-lq-2.75' },
    ],
    text: '/data/eval.txt',
    context: 512,
  };
}

export function perplexityHost(view: PerplexityView): Handlers<PerplexityRequests> {
  return {
    ...common,
    load: () => view,
    evaluate: () => ({ job: 'new' }),
    forget: () => null,
  };
}

export function compareHost(chosen = true): Handlers<CompareRequests> {
  const view = chosen ? { a: header(tiny), b: compressedHeader(tiny), canCompute: true } : { canCompute: true };
  const structure: CompareReport = {
    a: '/models/a',
    b: '/models/b',
    onlyA: ['model.layers.0.self_attn.rotary_emb.inv_freq'],
    onlyB: [],
    reshaped: [{ name: 'lm_head.weight', a: '2048 × 256', b: '2050 × 256' }],
    tensors: targets(tiny).map(({ name, shape }) => ({ name, shape, formatA: 'BF16', formatB: 'LQ NF3 r8' })),
  };
  return {
    ...common,
    load: () => view,
    choose: () => ({ a: header(tiny), b: compressedHeader(tiny), canCompute: true }),
    structure: () => structure,
    values: () => ({
      ...structure,
      tensors: structure.tensors.map((tensor, index) => {
        const relativeError = index === 4 ? 0 : 0.04 + 0.12 * random(tensor.name)();
        return { ...tensor, relativeError, maxAbsolute: relativeError * 0.4 };
      }),
    }),
  };
}
