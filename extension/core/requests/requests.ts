/**
 * Everything that can be asked, each request described once: engine and panels check with these descriptions, the command
 * line reads its flags from them, and the editor says a request as a command line with them.
 */
import * as v from 'valibot';
import { describeRequest, type RequestOf } from './describe';
import {
  choiceFlag,
  numberFlag,
  path,
  pathFlag,
  pathsFlag,
  switchFlag,
  textFlag,
  whole,
  listFlag,
  asIs,
} from './field';
import { CONSUMER_IDS, consumers } from '../options/consumers';
import {
  budget,
  budgetSchema,
  context,
  costs,
  embeddings,
  factors,
  alpha,
  iteration,
  measured,
  memory,
  parts,
  method,
  model,
  outFile,
  outFolder,
  overrides,
  precision,
  samples,
  secondPass,
  selection,
  settings,
  sizeFlag,
  splitSize,
  windows,
} from './fields';

/** Settings alone. */
export const jobSettings = describeRequest('doctor', settings);
export type JobSettings = RequestOf<typeof jobSettings>;

/** What the cache holds, or less of it. */
export const cacheRequest = describeRequest(
  'cache',
  {
    limit: {
      schema: v.exactOptional(v.pipe(v.number(), v.minValue(0, 'expected a size'))),
      spoken: sizeFlag('limit', 'remove what was not used for longest until this is left: 20GB, 800MiB, …'),
    },
    clear: {
      schema: v.exactOptional(v.boolean()),
      spoken: switchFlag('clear', 'remove every result that no process makes or needs at the moment'),
    },
    ...settings,
  },
  [
    request =>
      request.limit !== undefined && request.clear === true ? 'give --limit or --clear, not both' : undefined,
  ],
);

// --- Looking ------------------------------------------------------------------------------------------------------------

export const inspectRequest = describeRequest('inspect', { ...model, ...settings });

/** Which programs load a checkpoint. */
export const loadsRequest = describeRequest('loads', { ...model, ...settings });

export const statisticsRequest = describeRequest('stats', {
  ...model,
  tensors: {
    schema: v.exactOptional(v.array(v.string())),
    spoken: listFlag('tensor', 'NAME', 'only this tensor (repeatable)', asIs),
  },
  bins: { schema: v.exactOptional(whole(0)) },
  ...settings,
});
export type StatisticsRequest = RequestOf<typeof statisticsRequest>;

export const spectrumRequest = describeRequest('spectrum', {
  ...model,
  tensor: { schema: v.string() },
  count: { schema: v.exactOptional(whole(1)) },
  ...settings,
});
export type SpectrumRequest = RequestOf<typeof spectrumRequest>;

const cells = { rows: { schema: whole(1) }, cols: { schema: whole(1) } };
export const previewRequest = describeRequest('preview', {
  ...model,
  tensor: { schema: v.string() },
  ...cells,
  ...settings,
});
export type PreviewRequest = RequestOf<typeof previewRequest>;

const pair = { a: { schema: path, positional: 'A' }, b: { schema: path, positional: 'B' } };
export const differenceRequest = describeRequest('difference', {
  ...pair,
  tensor: { schema: v.string() },
  ...cells,
  ...settings,
});
export type DifferenceRequest = RequestOf<typeof differenceRequest>;

export const compareRequest = describeRequest('compare', {
  ...pair,
  structure: {
    schema: v.exactOptional(v.boolean()),
    spoken: switchFlag('structure', 'compare names, shapes and formats only; read no weights'),
  },
  ...settings,
});
export type CompareRequest = RequestOf<typeof compareRequest>;

export const healthRequest = describeRequest('health', { ...model, ...settings });
export type HealthRequest = RequestOf<typeof healthRequest>;

// --- Compressing --------------------------------------------------------------------------------------------------------

interface Weighted {
  readonly calibration?: string;
  readonly fisher?: string;
  readonly plain?: boolean;
}
const WEIGHTINGS = 'give one of --calibration FILE, --fisher FILE and --plain';
const weightingsOf = ({ calibration, fisher, plain }: Weighted): number =>
  [calibration !== undefined, fisher !== undefined, plain === true].filter(Boolean).length;
/** At most one way to weigh errors; without one they are not, and the report says so. */
const oneWeighting = (request: Weighted): string | undefined => (weightingsOf(request) <= 1 ? undefined : WEIGHTINGS);
/** Costs alone are of a weighting that was said. */
const saidWeighting = (request: Weighted): string | undefined => (weightingsOf(request) === 1 ? undefined : WEIGHTINGS);

const calibrationFlag = pathFlag('calibration', 'FILE', 'weigh errors with statistics of this text');

/** What a worker is among those that share its cache, see `parseShard`. */
const shard = {
  schema: v.exactOptional(v.string()),
  spoken: textFlag(
    'shard',
    'auto|I/N',
    'be worker I of N that share the cache: do first what no other has (auto: as Slurm or Kubernetes says)',
  ),
};

export const fisherRequest = describeRequest('fisher', {
  ...model,
  calibration: { schema: path, spoken: pathFlag('calibration', 'FILE', 'calibration text') },
  samples,
  context,
  parts,
  shard,
  precision,
  ...outFile,
  ...selection,
  ...settings,
});
export type FisherRequest = RequestOf<typeof fisherRequest>;

export const calibrateRequest = describeRequest(
  'calibrate',
  {
    ...model,
    calibration: { schema: v.exactOptional(path), spoken: pathFlag('calibration', 'FILE', 'calibration text') },
    merge: {
      schema: v.exactOptional(v.pipe(v.array(path), v.minLength(2, 'expected at least two files'))),
      spoken: pathsFlag('merge', 'FILE', 'add up statistics of other texts instead, as of all of them (repeatable)'),
    },
    samples,
    context,
    memory,
    parts,
    shard,
    precision,
    fisher: {
      schema: v.exactOptional(v.boolean()),
      spoken: switchFlag('fisher', 'keep the elementwise Fisher information too, as `fisher` would'),
    },
    imatrix: {
      schema: v.exactOptional(path),
      spoken: pathFlag('imatrix', 'FILE', 'also write an importance matrix of llama.cpp (GGUF; .dat: its old format)'),
    },
    ...outFile,
    ...selection,
    ...settings,
  },
  [
    ({ calibration, merge }) =>
      (calibration === undefined) === (merge === undefined) ? 'give --calibration FILE or --merge FILEs' : undefined,
    ({ merge, parts: wanted, shard: worker }) =>
      merge !== undefined && (wanted !== undefined || worker !== undefined)
        ? 'give --parts and --shard with a calibration text'
        : undefined,
  ],
);
export type CalibrateRequest = RequestOf<typeof calibrateRequest>;

/** Where the result will run: the options are then those of its format, and sizes are of its file. */
const consumer = {
  for: {
    schema: v.exactOptional(v.picklist(CONSUMER_IDS)),
    spoken: choiceFlag(
      'for',
      CONSUMER_IDS,
      `what will read it (${CONSUMER_IDS.map(id => `${id}: ${consumers[id].readers}`).join('; ')}; default: packed)`,
    ),
  },
};

/** A text whose statistics weigh errors, and how they are taken. */
const fromText = {
  calibration: { schema: v.exactOptional(path), spoken: calibrationFlag },
  samples,
  context,
  memory,
  parts,
  precision,
};

const sweepFields = {
  ...model,
  ...consumer,
  ...method,
  ...fromText,
  ...iteration,
  costs,
  out: { schema: v.exactOptional(path), spoken: pathFlag('out', 'FILE', 'file to write the table of costs to') },
  ...selection,
  embeddings,
  ...settings,
};
export const sweepRequest = describeRequest('sweep', sweepFields, [saidWeighting]);
export type SweepRequest = RequestOf<typeof sweepRequest>;

/** `sweep` as a command: with a shard it is a worker's part. */
export const sweepCommandRequest = describeRequest('sweep', { ...sweepFields, shard }, [saidWeighting]);

/** One worker's part of a sweep. */
export const sweepShardRequest = describeRequest(
  'sweep',
  {
    ...model,
    ...consumer,
    ...method,
    ...fromText,
    ...iteration,
    ...selection,
    embeddings,
    ...settings,
    shard: { schema: v.string() },
  },
  [saidWeighting],
);
export type SweepShardRequest = RequestOf<typeof sweepShardRequest>;

const sweepFile = { sweep: { schema: path, positional: 'SWEEP' } };

export const planRequest = describeRequest('plan', {
  ...sweepFile,
  budget,
  factors,
  overrides,
  /** True while a slider moves: answer in milliseconds with a rounded plan and its bound. */
  quick: { schema: v.exactOptional(v.boolean()) },
  measured,
  ...settings,
});
export type PlanRequest = RequestOf<typeof planRequest>;

/** The curve of error against size. */
export const frontierRequest = describeRequest('frontier', {
  ...sweepFile,
  kind: { schema: budgetSchema.entries.kind },
  factors,
  overrides,
  count: { schema: v.exactOptional(whole(2)) },
  measured,
  ...settings,
});
export type FrontierRequest = RequestOf<typeof frontierRequest>;

export const evaluateRequest = describeRequest('eval', {
  ...model,
  text: { schema: path, spoken: pathFlag('text', 'FILE', 'evaluation text') },
  context,
  precision,
  windows,
  bos: {
    schema: v.exactOptional(v.boolean()),
    spoken: switchFlag('bos', 'start every window with the beginning-of-sequence token'),
  },
  reference: {
    schema: v.exactOptional(path),
    spoken: pathFlag('reference', 'MODEL', 'the original: also say how far the predictions are from its own'),
  },
  ...settings,
});
export type EvaluateRequest = RequestOf<typeof evaluateRequest>;

/** Float types that weights are written in. */
const FLOAT_TYPES = ['bf16', 'fp16', 'fp32'] as const;
export type FloatType = (typeof FLOAT_TYPES)[number];

const FORMATS = ['packed', 'dense'] as const;

const compressFields = {
  ...model,
  ...outFolder,
  budget,
  ...fromText,
  secondPass,
  alpha,
  ...method,
  ...iteration,
  costs,
  factors,
  evalText: {
    schema: v.exactOptional(path),
    spoken: pathFlag('eval-text', 'FILE', 'measure perplexity on this text before and after'),
  },
  windows,
  ...consumer,
  format: {
    schema: v.exactOptional(v.picklist(FORMATS)),
    spoken: choiceFlag('format', FORMATS, 'what to write (default: packed)'),
  },
  splitSize,
  /** The table of costs, as `sweep` would write it: other budgets can then be planned without measuring again. */
  sweepOut: {
    schema: v.exactOptional(path),
    spoken: pathFlag('sweep-out', 'FILE', 'also write the table of costs there'),
  },
  ...selection,
  embeddings,
  overrides,
  ...settings,
};
export const compressRequest = describeRequest('compress', compressFields, [oneWeighting]);
export type CompressRequest = RequestOf<typeof compressRequest>;
/** What of it says what a matrix may become. */
export type MethodRequest = Pick<CompressRequest, keyof typeof method>;
/** `compress` as a command: with a shard it is a worker's part of all but the output. */
export const compressCommandRequest = describeRequest('compress', { ...compressFields, shard }, [oneWeighting]);
/** One worker's part of a compression. */
export const compressShardRequest = describeRequest('compress', { ...compressFields, shard: { schema: v.string() } }, [
  oneWeighting,
]);
export type CompressShardRequest = RequestOf<typeof compressShardRequest>;

/** A compression as jobs of a cluster. */
export const clusterRequest = describeRequest(
  'cluster',
  {
    scheduler: { schema: v.picklist(['slurm', 'kubernetes', 'ssh']), positional: 'slurm|kubernetes|ssh', word: true },
    ...compressFields,
    workers: {
      schema: v.exactOptional(whole(1)),
      spoken: numberFlag('workers', 'N', 'workers that share the work (default: 8; ssh: one a host)'),
    },
    gpus: {
      schema: v.exactOptional(whole(0)),
      spoken: numberFlag('gpus', 'N', 'GPUs a worker takes (default: 1; 0 for CPUs)'),
    },
    program: {
      schema: v.exactOptional(v.string()),
      spoken: textFlag('program', 'PATH', 'lq-studio on the machines (default: lq-studio)'),
    },
    partition: { schema: v.exactOptional(v.string()), spoken: textFlag('partition', 'NAME', 'Slurm: partition') },
    image: {
      schema: v.exactOptional(v.string()),
      spoken: textFlag('image', 'NAME', 'Kubernetes: image with lq-studio'),
    },
    volume: {
      schema: v.exactOptional(v.string()),
      spoken: textFlag('volume', 'CLAIM', 'Kubernetes: persistent volume claim of model, output and cache'),
    },
    mount: {
      schema: v.exactOptional(v.string()),
      spoken: textFlag('mount', 'DIR', 'Kubernetes: where the volume is mounted (default: /shared)'),
    },
    hosts: {
      schema: v.exactOptional(v.array(v.string())),
      spoken: listFlag('host', 'HOST', 'ssh: a host (repeatable)', asIs),
    },
    submit: {
      schema: v.exactOptional(v.boolean()),
      spoken: switchFlag('submit', 'Slurm: submit the jobs instead of printing the script'),
    },
  },
  [
    oneWeighting,
    ({ scheduler, hosts }) => (scheduler === 'ssh' && hosts === undefined ? 'name the hosts with --host' : undefined),
    ({ scheduler, submit }) =>
      submit === true && scheduler !== 'slurm'
        ? 'only Slurm jobs are submitted; run or apply what is printed'
        : undefined,
    ({ scheduler, image, volume }) =>
      scheduler === 'kubernetes' && (image === undefined || volume === undefined)
        ? 'Kubernetes needs --image NAME and --volume CLAIM'
        : undefined,
  ],
);
export type ClusterRequest = RequestOf<typeof clusterRequest>;

/** A comparison of methods at equal exported bits. */
export const methodsRequest = describeRequest('methods', {
  ...model,
  effectiveBits: {
    schema: v.pipe(v.number(), v.finite()),
    spoken: numberFlag('bits', 'B', 'exported bits per target weight, everything stored included'),
  },
  calibration: { schema: path, spoken: pathFlag('calibration', 'FILE', 'calibration text') },
  evalText: { schema: path, spoken: pathFlag('eval-text', 'FILE', 'evaluation text') },
  methods: {
    schema: v.exactOptional(v.array(v.string())),
    spoken: listFlag('method', 'NAME', 'only this method (repeatable; default: all)', asIs),
  },
  samples,
  context,
  precision,
  windows,
  ...selection,
  ...settings,
});
export type MethodsRequest = RequestOf<typeof methodsRequest>;

export const exportRequest = describeRequest('export', {
  ...model,
  format: { schema: v.string(), spoken: textFlag('format', 'packed|dense|gguf|gguf-lora|peft', 'format to write') },
  dtype: {
    schema: v.exactOptional(v.picklist(FLOAT_TYPES)),
    spoken: choiceFlag(
      'dtype',
      FLOAT_TYPES,
      'dense, gguf, gguf-lora, peft: float type of the weights (default: that of the original)',
    ),
  },
  splitSize,
  ...outFolder,
  ...settings,
});
export type ExportRequest = RequestOf<typeof exportRequest>;

/** Requests that can be said as a command line. */
export const sayable = {
  inspect: inspectRequest,
  stats: statisticsRequest,
  compare: compareRequest,
  compress: compressRequest,
  fisher: fisherRequest,
  sweep: sweepRequest,
  plan: planRequest,
  evaluate: evaluateRequest,
  export: exportRequest,
  methods: methodsRequest,
};

/** A request with its name among them. */
export type Sayable = {
  [C in keyof typeof sayable]: { command: C; request: RequestOf<(typeof sayable)[C]> };
}[keyof typeof sayable];
