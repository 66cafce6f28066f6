/** The tables of `plan` and `compress`, as lines of text. */
import type { Plan } from '../core/allocation/types';
import { formatBytes, formatCertificate, formatCoverage, formatDuration, formatPercent } from '../core/format';
import type { ReferenceReport } from '../core/evaluation/types';
import type { Delivered } from '../core/export/delivered';
import { verdictRows, type Verdict } from '../core/export/loads/loads';
import type { CompressReport } from '../core/reports';
import { table } from './terminal';

export function planRows(matrices: Plan['matrices']): string[] {
  const rows = matrices.map(row => [
    row.name,
    row.label,
    row.bits.toFixed(3),
    row.effectiveBits.toFixed(3),
    row.cost.toExponential(3),
  ]);
  return table(['matrix', 'option', 'bits', 'effective', 'cost'], rows, [0, 1]);
}

type Totals = Pick<Plan, 'bits' | 'effectiveBits' | 'bytes' | 'objective' | 'gap' | 'optimal' | 'coverage'>;

export function planTotals(plan: Totals): string[] {
  return [
    `bits ${plan.bits.toFixed(4)}, effective bits ${plan.effectiveBits.toFixed(4)}, size ${formatBytes(plan.bytes)}`,
    `objective ${plan.objective.toExponential(4)}, ${formatCertificate(plan)}`,
    ...(plan.coverage === undefined ? [] : [`covers ${formatCoverage(plan.coverage)}`]),
  ];
}

export function compressionReport(report: CompressReport): string[] {
  const rows = report.matrices.map(row => [
    row.name,
    row.label,
    row.bits.toFixed(3),
    formatPercent(row.errorQuantized),
    formatPercent(row.errorLq),
    formatPercent(row.errorStored),
  ]);
  const header = ['matrix', 'option', 'bits', 'error Q', 'error Q+LR', 'stored'];
  const lines = [...table(header, rows, [0, 1]), '', ...planTotals(report)];
  const { before, after, costs } = report;
  if (costs.predicted > 0)
    lines.push(`costs: ${costs.measured} measured, the plan’s among them; ${costs.predicted} predicted`);
  lines.push(
    `size ${formatBytes(before.bytes)} -> ${formatBytes(after.bytes)} (${formatPercent(after.bytes / before.bytes)} of the original)`,
  );
  if (before.perplexity !== undefined && after.perplexity !== undefined)
    lines.push(
      `perplexity ${before.perplexity.toFixed(3)} -> ${after.perplexity.toFixed(3)} ` +
        `(${after.perplexity >= before.perplexity ? '+' : ''}${formatPercent(after.perplexity / before.perplexity - 1)})`,
    );
  if (after.kl !== undefined && after.sameTop !== undefined)
    lines.push(divergenceLine({ kl: after.kl, sameTop: after.sameTop }));
  const stages = Object.entries(report.seconds).map(([stage, seconds]) => `${stage} ${formatDuration(seconds)}`);
  lines.push(
    `time: ${stages.join(', ')}`,
    ...report.warnings.map(warning => `warning: ${warning}`),
    ...deliveredLines(report.delivered),
    `output: ${report.output}`,
  );
  return lines;
}

/** What each program makes of a checkpoint. */
export const loadsRows = (verdicts: readonly Verdict[]): string[] =>
  table(['program', 'version read', 'loads', 'why'], verdicts.flatMap(verdictRows), [0, 1, 2, 3]);

/** Files, checks, programs, and the lines that load it. */
export function deliveredLines({ format, files, checks, loads, load, carried }: Delivered): string[] {
  return [
    '',
    `${format}:`,
    ...files.map(({ name, bytes }) => `  ${name}  ${formatBytes(bytes)}`),
    ...(carried.length > 0 ? [`carried over from the original: ${carried.join(', ')}`] : []),
    ...checks.map(check => `checked: ${check}`),
    '',
    ...loadsRows(loads),
    '',
    'to load it, in its folder:',
    ...load.flatMap(({ lines: own }) => own.map(line => `  ${line}`)),
    '',
  ];
}

/** How far predictions are from the original's. */
export const divergenceLine = ({ kl, sameTop }: Pick<ReferenceReport, 'kl' | 'sameTop'>): string =>
  `KL to the original ${kl.mean.toPrecision(4)} nats a token (99 %: ${kl.p99.toPrecision(4)}), ` +
  `the same likeliest token in ${formatPercent(sameTop)}`;
