/** What is wrong with a checkpoint: from its headers alone, from statistics of its weights, from hashes of their bytes. */
import type { HealthFinding, TensorStatistics } from './types';
import type { CheckpointProblem, LogicalTensor } from '../checkpoint/types';
import { quoteName } from '../text';
import { formatBytes, formatInteger, formatNumber, formatShape } from '../format';

/** Trained weights stay under a few hundred and gains of norms under a few thousand; beyond this something overflowed. */
const ABSURD_ABSMAX = 1e4;

/** Faults of headers and shards, as findings. */
export function structureFindings(problems: readonly CheckpointProblem[]): HealthFinding[] {
  return problems.map(problem => ({ ...problem }));
}

/** What the statistics of one tensor give away. Integer tensors are buffers, not weights, and are passed over. */
export function statisticsFindings(tensor: LogicalTensor, statistics: TensorStatistics): HealthFinding[] {
  if (/^(?:BOOL|[IU]\d+)$/.test(tensor.dtype)) return [];
  const findings: HealthFinding[] = [];
  const file = tensor.parts[0]?.file;
  const report = (severity: HealthFinding['severity'], code: string, what: string): void => {
    const message = `${quoteName(tensor.name)} ${what}`;
    findings.push({ severity, code, message, ...(file !== undefined && { file }), tensor: tensor.name });
  };
  const { count, nans, infs, zeros, min, max, absmax, rowNorms, colNorms } = statistics;
  if (nans > 0) report('error', 'nan', `has ${formatInteger(nans)} NaN, the first at index ${statistics.firstNan}`);
  if (infs > 0) {
    report('error', 'inf', `has ${counted(infs, 'infinite value')}, the first at index ${statistics.firstInf}`);
  }
  if (nans + infs > 0 || count <= 1) return findings;

  // Norms start at one and biases at zero, and some models leave them there; a weight that does was never trained.
  const ordinary = tensor.role === 'norm' || tensor.role === 'bias';
  if (zeros === count) {
    report(ordinary ? 'information' : 'warning', 'all-zero', `is all zero (${formatShape(tensor.shape)})`);
    return findings;
  }
  if (min === max) {
    const what = `is constant: every one of ${formatInteger(count)} values is ${formatNumber(min)}`;
    report(ordinary ? 'information' : 'warning', 'constant', what);
    return findings;
  }
  if (absmax > ABSURD_ABSMAX) report('warning', 'absurd-absmax', `reaches ${formatNumber(absmax)}`);
  if (tensor.shape.length === 2) {
    // A row of an embedding is a token, and tokens nobody uses are zero in many vocabularies.
    const severity = tensor.role === 'embedding' || tensor.role === 'position' ? 'information' : 'warning';
    if (rowNorms.zero > 0) report(severity, 'dead-rows', `has ${counted(rowNorms.zero, 'row')} of zeros`);
    if (colNorms.zero > 0) report('warning', 'dead-columns', `has ${counted(colNorms.zero, 'column')} of zeros`);
  }
  return findings;
}

const counted = (count: number, what: string): string => `${formatInteger(count)} ${what}${count === 1 ? '' : 's'}`;

/**
 * Weights stored more than once, by a hash of their bytes. An embedding and the head that shares it are worth knowing,
 * two equal layers are suspicious; vectors are passed over, for many of them are equal for good reasons.
 */
export function duplicateFindings(hashed: readonly { tensor: LogicalTensor; hash: string }[]): HealthFinding[] {
  const groups = new Map<string, LogicalTensor[]>();
  for (const { tensor, hash } of hashed) {
    if (tensor.shape.length < 2) continue;
    const key = `${hash} ${tensor.dtype} ${tensor.shape.join('x')}`;
    groups.set(key, [...(groups.get(key) ?? []), tensor]);
  }
  return [...groups.values()].flatMap(([first, ...copies]) =>
    copies.map((copy): HealthFinding => {
      const tied = [first!.role, copy.role].sort().join() === 'embedding,head';
      const file = copy.parts[0]?.file;
      return {
        severity: tied ? 'information' : 'warning',
        code: tied ? 'tied-twice' : 'duplicate-content',
        message:
          `${quoteName(copy.name)} holds the same ${formatBytes(copy.bytes)} as ${quoteName(first!.name)}` +
          (tied ? ': tied weights stored twice' : ''),
        ...(file !== undefined && { file }),
        tensor: copy.name,
      };
    }),
  );
}
