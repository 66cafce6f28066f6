/** What the parameters of every panel's requests must be; the compiler holds each schema to the types of panels.ts. */
import * as v from 'valibot';
import { budgetSchema, factors, overrides, selection } from '../core/requests/fields';
import {
  compressRequest,
  evaluateRequest,
  methodsRequest,
  sayable,
  sweepRequest,
  type Sayable,
} from '../core/requests/requests';
import type { RequestSchemas } from './channel';
import type {
  AllocationRequests,
  CheckpointRequests,
  CommonRequests,
  CompareRequests,
  CompressRequests,
  HeatmapRequests,
  MethodsRequests,
  MetricId,
  PerplexityRequests,
} from './panels';

const nothing = v.null();
const text = v.string();
const optionalText = v.exactOptional(text);
const count = v.pipe(v.number(), v.safeInteger('expected a whole number'));

const commandLine = v.variant(
  'command',
  Object.entries(sayable).map(([command, { schema }]) =>
    v.strictObject({ command: v.literal(command), request: schema }),
  ) as never,
) as unknown as v.GenericSchema<unknown, Sayable>;

const job = v.strictObject({ job: text });
const common: RequestSchemas<CommonRequests> = {
  save: v.strictObject({ name: text, type: v.picklist(['csv', 'json', 'md', 'png']), data: text }),
  copy: v.strictObject({ text }),
  copyCommand: commandLine,
  navigate: v.strictObject({
    to: v.picklist([
      ...(['checkpoint', 'compress', 'heatmap', 'allocation', 'perplexity', 'compare', 'methods'] as const),
      ...(['export', 'health', 'explorer', 'settings', 'output'] as const),
    ]),
    model: optionalText,
    tensor: optionalText,
    other: optionalText,
    job: optionalText,
  }),
  selected: v.strictObject({ tensor: optionalText }),
  openPath: v.strictObject({ path: text }),
  pick: v.strictObject({
    what: v.picklist(['calibration', 'evaluation', 'fisher', 'output', 'checkpoint']),
    current: optionalText,
  }),
  jobs: nothing,
  cancelJob: job,
  resumeJob: job,
  removeJob: job,
};

const cells = v.strictObject({ tensor: text, rows: count, cols: count });
const metric = v.union([
  v.picklist([
    ...(['bits', 'effective-bits', 'rank', 'error', 'relative-error', 'low-rank-gain'] as const),
    ...(['fisher-mass', 'absmax', 'stddev', 'kurtosis', 'zeros'] as const),
  ]),
  v.custom<MetricId>(value => typeof value === 'string' && value.startsWith('external:')),
]);
const rules = v.nonOptional(overrides.schema);
const curve = { factors: v.nonOptional(factors.schema), overrides: rules };

/** Panel -> the schemas of its requests. */
export const panelRequests: {
  checkpoint: RequestSchemas<CheckpointRequests>;
  compress: RequestSchemas<CompressRequests>;
  heatmap: RequestSchemas<HeatmapRequests>;
  allocation: RequestSchemas<AllocationRequests>;
  perplexity: RequestSchemas<PerplexityRequests>;
  compare: RequestSchemas<CompareRequests>;
  methods: RequestSchemas<MethodsRequests>;
} = {
  checkpoint: {
    ...common,
    load: nothing,
    statistics: v.strictObject({ tensor: text }),
    allStatistics: nothing,
    spectrum: v.strictObject({ tensor: text, count: v.exactOptional(count) }),
    preview: cells,
    twin: v.strictObject({ ...cells.entries, model: text }),
  },
  compress: {
    ...common,
    load: nothing,
    estimate: compressRequest.schema,
    match: v.strictObject({ include: selection.include.schema, exclude: selection.exclude.schema }),
    start: compressRequest.schema,
  },
  heatmap: {
    ...common,
    load: nothing,
    choose: v.strictObject({ compressed: text }),
    matrix: v.strictObject({ tensor: text }),
    statistics: v.strictObject({ tensor: text }),
    spectrum: v.strictObject({ tensor: text, count }),
    values: v.strictObject({ metric }),
    external: v.strictObject({ file: optionalText }),
  },
  allocation: {
    ...common,
    load: nothing,
    plan: v.strictObject({ ...curve, budget: budgetSchema, quick: v.boolean() }),
    curve: v.strictObject(curve),
    use: v.strictObject({ ...curve, budget: budgetSchema }),
    whatIf: v.strictObject(curve),
    choose: v.strictObject({ file: text, budget: budgetSchema, overrides: rules }),
    sweep: sweepRequest.schema,
  },
  perplexity: {
    ...common,
    load: nothing,
    evaluate: evaluateRequest.schema,
    forget: v.strictObject({ id: text }),
  },
  compare: {
    ...common,
    load: nothing,
    choose: v.strictObject({ side: v.picklist(['a', 'b']), path: optionalText }),
    structure: nothing,
    values: nothing,
  },
  methods: {
    ...common,
    load: nothing,
    start: methodsRequest.schema,
  },
};
