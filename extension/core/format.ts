/** Numbers as a person would write them: at most four significant digits, units, a true minus sign, a dash for unknown. */

import type { Progress, Stage } from './progress';

const MISSING = '–';
const minus = (text: string) => text.replace('-', '−');

/** At most four significant digits; very large and very small ones in powers of ten. */
export function formatNumber(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined || Number.isNaN(value)) return MISSING;
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) {
    const [mantissa = '', exponent = ''] = value.toExponential(digits - 2).split('e');
    return minus(`${mantissa.replace(/\.?0+$/, '')}e${Number(exponent)}`);
  }
  return minus(String(Number(value.toPrecision(Math.max(digits, Math.ceil(Math.log10(size)))))));
}

export function formatInteger(value: number | null | undefined): string {
  return value === null || value === undefined ? MISSING : Math.round(value).toLocaleString('en-US');
}

const scaled = (value: number, base: number, units: readonly string[]): string => {
  let unit = 0;
  while (Math.abs(value) >= base * 0.9995 && unit < units.length - 1) {
    value /= base;
    unit++;
  }
  return `${Number(value.toPrecision(unit === 0 ? 4 : 3))} ${units[unit]}`.trim();
};

/** Decimal units, as disks and model cards use them. */
export function formatBytes(value: number | null | undefined): string {
  return value === null || value === undefined ? MISSING : scaled(value, 1000, ['B', 'kB', 'MB', 'GB', 'TB']);
}

/** Parameter counts: 7.9 M, 6.74 B. */
export function formatCount(value: number | null | undefined): string {
  return value === null || value === undefined ? MISSING : scaled(value, 1000, ['', 'k', 'M', 'B', 'T']);
}

/** Bits per weight, always two decimals so that columns line up. */
export function formatBits(value: number | null | undefined): string {
  return value === null || value === undefined || !Number.isFinite(value) ? MISSING : value.toFixed(2);
}

export function formatPercent(value: number | null | undefined): string {
  return value === null || value === undefined || !Number.isFinite(value)
    ? MISSING
    : minus(`${Number((value * 100).toPrecision(3))} %`);
}

/** What a compression is about, and what of the network it leaves as it is. */
export function formatCoverage(coverage: {
  weights: number;
  blockWeights: number;
  left: readonly { reason: string; tensors: number; weights: number; example: string }[];
}): string {
  const { weights, blockWeights } = coverage;
  const left = coverage.left.map(
    each =>
      `${each.reason} (${each.tensors === 1 ? each.example : `${each.tensors} tensors`}, ${formatCount(each.weights)})`,
  );
  const share = `${formatPercent(weights / blockWeights)} of the ${formatCount(blockWeights)} weights in repeated blocks`;
  return left.length === 0 ? share : `${share}; left out: ${left.join(', ')}`;
}

/**
 * How good a plan is known to be: proven optimal, or no further from it than the bound of the linear programme says.
 */
export function formatCertificate({ optimal, gap }: { optimal: boolean; gap: number }): string {
  return optimal ? 'optimal' : `within ${formatPercent(gap)} of optimal`;
}

export function formatDuration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return MISSING;
  if (seconds < 1) return 'under 1 s';
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function formatShape(shape: readonly number[]): string {
  return shape.length === 0 ? 'scalar' : shape.join(' × ');
}

/** Date and time in the reader's own manner. */
export function formatDate(milliseconds: number): string {
  return new Date(milliseconds).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
}

/** The last part of a path, trailing separators aside; the root is its own. */
export const baseName = (path: string): string => /([^/\\]+)[/\\]*$/.exec(path)?.[1] ?? path.slice(0, 1);

/** What a stage does, in words. */
export const stageTitles: Readonly<Record<Stage, string>> = {
  open: 'Reading headers',
  baseline: 'Evaluating the original',
  fisher: 'Fisher information',
  calibrate: 'Calibration statistics',
  sweep: 'Measuring costs',
  plan: 'Planning',
  decompose: 'Decomposing',
  write: 'Writing',
  evaluate: 'Evaluating',
  statistics: 'Statistics',
  compare: 'Comparing',
  export: 'Exporting',
};

/** What a stage's pieces are. */
const pieces: Partial<Record<Stage, string>> = {
  baseline: 'window',
  fisher: 'sequence',
  sweep: 'matrix',
  decompose: 'matrix',
  evaluate: 'window',
  statistics: 'tensor',
  compare: 'tensor',
  export: 'tensor',
};

/** The piece at work, such as `matrix 17 of 210`; empty where there are none to count. */
export function formatPiece({ stage, done, total, count = { done, total } }: Progress): string {
  const piece = pieces[stage];
  if (piece === undefined || count.total <= 1) return '';
  const at = Math.min(count.total, Math.floor(count.done + 1e-6) + 1);
  return `${piece} ${formatInteger(at)} of ${formatInteger(count.total)}`;
}

/** How far a request is: the share of its time from 0 to 1, undefined where nothing is known. */
export function shareOf({ whole, done, total }: Progress): number | undefined {
  if (whole) return whole.share;
  return total > 0 ? Math.min(1, done / total) : undefined;
}

/** Seconds until a request is done, undefined where they are not known. */
export const secondsLeftOf = ({ whole, secondsLeft }: Progress): number | undefined =>
  // On a JSON wire what is not known is null.
  (whole ? whole.secondsLeft : secondsLeft) ?? undefined;

/** Such as `43 %, Measuring costs, matrix 17 of 210, 3 min left`. */
export function formatProgress(progress: Progress): string {
  const share = shareOf(progress);
  const left = secondsLeftOf(progress);
  return [
    share === undefined ? '' : `${Math.floor(100 * share)} %`,
    stageTitles[progress.stage],
    formatPiece(progress),
    left === undefined ? '' : `${formatDuration(left)} left`,
    progress.waitingFor === undefined ? '' : `waiting for ${progress.waitingFor}`,
  ]
    .filter(Boolean)
    .join(', ');
}

/** What an error that was weighed so says of itself, for people. */
export const weighing = {
  plain: 'unweighted',
  fisher: 'weighted by Fisher information',
  kfac: 'weighted by K-FAC',
} as const;
