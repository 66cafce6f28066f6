import { weighing } from '../../core/format';
import type { MetricKind } from '../../core/options/recipe';
import type { Metric, MetricId } from '../../protocol/panels';
import type { Compression } from './related';

type Described = Omit<Metric, 'status'>;

const outcomes: readonly Described[] = [
  describe('bits', 'Bits', 'bits per weight', 'Storage of codes and scales, without the low-rank factors.'),
  describe('effective-bits', 'Effective bits', 'bits per weight', 'All stored bytes of a matrix, factors included.'),
  describe('rank', 'Rank', '', 'Rank of the low-rank part.'),
  describe('error', 'Error', '', 'Norm of what is lost.', true),
  describe('relative-error', 'Relative error', '', 'Norm of what is lost over the norm of the matrix.'),
];
const gain: Described = {
  ...describe(
    'low-rank-gain',
    'Gain of low-rank',
    '',
    'Share of the quantisation error that the low-rank part removes.',
  ),
  scale: 'diverging',
};
const fisher = describe(
  'fisher-mass',
  'Fisher mass',
  '',
  'Sum of the Fisher information of a matrix: how much the loss minds errors there.',
  true,
);
const statistics: readonly Described[] = [
  describe('absmax', 'Absmax', '', 'Largest magnitude of a weight.', true),
  describe('stddev', 'Standard deviation', '', 'Spread of the weights.', true),
  describe('kurtosis', 'Kurtosis', '', 'Weight of the tails: 3 for a normal distribution, more with outliers.', true),
  describe('zeros', 'Zeros', '', 'Share of weights that are exactly zero.'),
];

function describe(id: MetricId, label: string, unit: string, about: string, log = false): Described {
  return { id, label, unit, about, scale: 'sequential', log };
}

/** What can be shown of a checkpoint, and what is needed for the rest. */
export function metricsOf(subject: {
  canCompute: boolean;
  model: string;
  compression: Compression | undefined;
}): Metric[] {
  const { canCompute, compression, model } = subject;
  const compressFirst: Metric['status'] = {
    needs: 'Compress this checkpoint first.',
    action: { to: 'compress', model },
  };
  const trustFirst: Metric['status'] = { needs: 'Values are computed once the workspace is trusted.' };
  const computed: Metric['status'] = canCompute ? 'compute' : trustFirst;
  const calibrated = compression?.report.fisher !== undefined;
  const mass: Metric['status'] = calibrated
    ? computed
    : { needs: 'Compress with calibration text first.', action: { to: 'compress', model } };
  // Stored bits are known of any checkpoint, the rest of a compression's outcome only after one.
  const ofOutcome = (metric: Described): Metric => ({
    ...(compression && weighed.has(metric.id)
      ? { ...metric, ...named(metric, compression.report.recipe.metric.kind) }
      : metric),
    status: compression || metric.id === 'bits' ? 'ready' : compressFirst,
  });
  return [
    ...outcomes.map(ofOutcome),
    ofOutcome(gain),
    { ...fisher, status: mass },
    ...statistics.map(metric => ({ ...metric, status: computed })),
  ];
}

/** Metrics that mean another thing under another weighting of errors. */
const weighed: ReadonlySet<MetricId> = new Set(['error', 'relative-error', 'low-rank-gain']);

/** One word, one meaning: what an error counts is said wherever one is shown. */
const named = ({ label, about }: Described, kind: MetricKind): Pick<Described, 'label' | 'about'> => ({
  label: `${label}, ${weighing[kind]}`,
  about: `${about} ${COUNTS[kind]}`,
});
const COUNTS: Record<MetricKind, string> = {
  plain: 'Every weight counts alike.',
  fisher: 'Every weight counts by its Fisher information.',
  kfac: 'Rows count by their Fisher information, columns by the second moment of the inputs.',
};
