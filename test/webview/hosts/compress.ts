import type { Verdict } from '../../../extension/core/export/loads/loads';
import type { CompressReport, EstimateReport } from '../../../extension/core/reports';
import type { CompressRequest } from '../../../extension/core/requests/requests';
import type { SweepRecipe } from '../../../extension/core/options/recipe';
import type { Handlers } from '../../../extension/protocol/channel';
import type { CompressRequests, CompressView, JobState, JobView } from '../../../extension/protocol/panels';
import { header, makePlan, random, targets, tiny } from '../fixtures';
import { common, TODAY } from './common';

export const RECIPE: SweepRecipe = {
  method: 'lq-lora',
  metric: { kind: 'fisher', statistics: '0123456789abcdef' },
  loop: { scales: 'sqrt-of-means', iterations: 25, patience: 1, oversampling: 10, powerIterations: 2 },
  seed: 0,
};

export const form: CompressRequest = {
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
    consumers: [
      {
        ...{ id: 'packed', label: 'Packed LQ checkpoint', readers: 'LQ Studio', request: { for: 'packed' } },
        methods: ['frontier', 'lq-lora', 'gptq'],
        embeddings: 'asked',
      },
      {
        ...{ id: 'gguf', label: 'GGUF', readers: 'llama.cpp, Ollama, LM Studio', request: { for: 'gguf' } },
        methods: ['gguf'],
        embeddings: 'always',
      },
    ],
    methods: [
      {
        ...{
          id: 'frontier',
          label: 'Frontier',
          description: 'Trellis codes on rotated inputs.',
          source: 'arXiv 2406.11235',
        },
        ...{ ranked: true, metrics: ['kfac', 'fisher', 'plain'], secondPass: true },
      },
      {
        ...{
          id: 'lq-lora',
          label: 'LQ-LoRA',
          description: 'NormalFloat and a low-rank part.',
          source: 'arXiv 2311.12023',
        },
        ...{ ranked: true, metrics: ['fisher', 'plain'], secondPass: false },
      },
      {
        ...{ id: 'gptq', label: 'GPTQ', description: 'Integers with feedback.', source: 'arXiv 2210.17323' },
        ...{ ranked: false, metrics: ['kfac'], secondPass: false },
      },
      {
        ...{ id: 'gguf', label: 'GGUF block types', description: 'Types of llama.cpp.', source: 'llama.cpp' },
        ...{ ranked: false, metrics: ['kfac', 'plain'], secondPass: false },
      },
    ],
    paper: { ranks: [16] },
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

const verdicts: Verdict[] = [
  {
    program: 'llama.cpp (Ollama and LM Studio have it inside)',
    version: '0.3',
    loads: 'no',
    why: ['it reads GGUF alone'],
  },
  {
    program: 'transformers',
    version: '5.24.0',
    loads: 'no',
    why: ['it has no loader for this layout: export it as dense'],
  },
  { program: 'vLLM', version: '0.11', loads: 'unknown', why: ['LlamaForCausalLM was not tried in this layout'] },
  { program: 'LQ Studio', version: 'this one', loads: 'yes', why: [] },
];

function compressReport(): CompressReport {
  const { plan } = makePlan(tiny, { budget: form.budget, factors: 'nf8', overrides: [] });
  const { matrices, seconds: _unused, ...summary } = plan;
  return {
    ...summary,
    model: form.model,
    output: form.out,
    recipe: RECIPE,
    costs: { measured: 28 * 243, predicted: 0 },
    matrices: matrices.map(row => {
      const alone = 0.62 * Math.pow(2, -row.bits * 0.95) * (0.9 + 0.2 * random(row.name)());
      return { ...row, errorQuantized: alone, errorLq: alone * 0.8, errorStored: alone * 0.803 };
    }),
    before: { perplexity: 20.578, bytes: header(tiny).bytes },
    after: { perplexity: 24.312, bytes: plan.bytes },
    delivered: {
      format: 'Packed LQ checkpoint',
      files: [{ name: 'lq-model.safetensors', bytes: plan.bytes }],
      checks: ['All 39 weights read back with the names, shapes and types that were meant.'],
      loads: verdicts,
      load: [{ language: 'sh', lines: ['lq-studio eval . --text eval.txt'] }],
      carried: ['LICENSE'],
    },
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
  amounts: { bytes: 3.2e6, 'effective-bits': 3.17, bits: 2.75 },
  notes: request.for === 'gguf' ? ['256 does not divide the columns of 4 of 28 matrices.'] : [],
  loads: verdicts,
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
