/** Error against size along the whole range, with the plan under the slider, the plan of the newest compression and what was measured. */
import { useMemo } from 'preact/hooks';
import { formatBits, formatBytes, formatNumber, formatPercent } from '../../extension/core/format';
import type { PlanOverride } from '../../extension/core/options/budget';
import type { AllocationView, PlanAnswer, PlanSummary, WhatIf } from '../../extension/protocol/panels';
import type { ChartSpec, Series } from '../charts';
import { Figure } from '../shared/Figure';
import { Key } from '../shared/Key';
import type { AllocationHost } from './host';

const isSameRules = (a: readonly PlanOverride[], b: readonly PlanOverride[]): boolean => {
  const keys = (rules: readonly PlanOverride[]) =>
    rules.map(({ match, minBits, maxBits }) => JSON.stringify([match, minBits ?? null, maxBits ?? null])).sort();
  return JSON.stringify(keys(a)) === JSON.stringify(keys(b));
};

/** The curve's error at a size, linear between its points. */
function errorAt(points: readonly PlanSummary[], bytes: number): number {
  const right = points.findIndex(point => point.bytes >= bytes);
  const b = points[right < 0 ? points.length - 1 : right]!;
  const a = points[Math.max(0, (right < 0 ? points.length : right) - 1)]!;
  const share = b.bytes > a.bytes ? Math.min(1, Math.max(0, (bytes - a.bytes) / (b.bytes - a.bytes))) : 0;
  return a.relativeError + share * (b.relativeError - a.relativeError);
}

export function CurveFigure(props: {
  host: AllocationHost;
  view: AllocationView;
  points: readonly PlanSummary[];
  answer: PlanAnswer | undefined;
  /** The same at other ranks. */
  others: WhatIf['rows'];
  /** The compression whose plan is marked. */
  current: AllocationView['currents'][number] | undefined;
  /** The rules that the curve is planned under. */
  overrides: readonly PlanOverride[];
  onPick: (point: PlanSummary) => void;
}) {
  const { view, points, answer, others, current } = props;
  // A plan under other rules lies on another curve than the one drawn.
  const measured = useMemo(
    () => view.measured.filter(one => isSameRules(one.overrides, props.overrides)),
    [view, props.overrides],
  );
  const spec = useMemo<ChartSpec>(() => {
    const describePlan = (plan: { bits: number; effectiveBits: number; bytes: number }, error: number) => [
      `${formatBytes(plan.bytes)}, error ${formatPercent(error)}`,
      `${formatBits(plan.bits)} bits, ${formatBits(plan.effectiveBits)} effective`,
    ];
    const series: (Series & { lines: (index: number) => string[] })[] = [
      {
        label: 'Best plans',
        kind: 'line',
        color: 0,
        points: points.map(point => ({ x: point.bytes, y: point.relativeError })),
        lines: index => describePlan(points[index]!, points[index]!.relativeError),
      },
    ];
    for (const { label, plans } of others) {
      const known = plans.filter(plan => plan !== null);
      series.push({
        label,
        kind: 'line',
        color: 3,
        dash: true,
        points: known.map(plan => ({ x: plan.bytes, y: plan.relativeError })),
        lines: index => [label, ...describePlan(known[index]!, known[index]!.relativeError)],
      });
    }
    if (measured.length > 0) {
      series.push({
        label: 'Measured',
        kind: 'points',
        color: 2,
        shape: 'triangle',
        radius: 5,
        points: measured.map(one => ({ x: one.bytes, y: errorAt(points, one.bytes) })),
        lines: index => {
          const one = measured[index]!;
          return [
            one.label,
            `perplexity ${formatNumber(one.perplexity)} at ${formatBits(one.effectiveBits)} effective bits`,
          ];
        },
      });
    }
    if (current) {
      series.push({
        label: current.name.slice(0, 60),
        kind: 'points',
        color: 1,
        shape: 'rectRot',
        radius: 6,
        points: [{ x: current.bytes, y: current.relativeError }],
        lines: () => [`Plan of ${current.name.slice(0, 100)}`, ...describePlan(current, current.relativeError)],
      });
    }
    if (answer) {
      series.push({
        label: 'This plan',
        kind: 'points',
        color: 0,
        radius: 6,
        points: [{ x: answer.plan.bytes, y: answer.relativeError }],
        lines: () => ['This plan', ...describePlan(answer.plan, answer.relativeError)],
      });
    }
    return {
      series,
      x: {
        label: 'Size of the checkpoint',
        format: formatBytes,
        min: points[0]!.bytes,
        max: points.at(-1)!.bytes,
      },
      y: { label: 'Predicted error', format: formatPercent, log: true },
      describe: (index, point) => series[index]?.lines(point) ?? [],
      onPick: (index, point) => {
        const picked = index === 0 ? points[point] : undefined;
        if (picked) props.onPick(picked);
      },
    };
  }, [points, answer, view, others, measured, current]);
  return (
    <Figure
      host={props.host}
      class="tall"
      title="Error against size"
      label={`Predicted error from ${formatPercent(points[0]?.relativeError)} at ${formatBytes(points[0]?.bytes)} to ${formatPercent(points.at(-1)?.relativeError)} at ${formatBytes(points.at(-1)?.bytes)}`}
      spec={spec}
      data={{
        name: `${view.header.label}-curve`,
        columns: ['bits', 'effective bits', 'bytes', 'objective', 'relative error'],
        rows: points.map(point => [point.bits, point.effectiveBits, point.bytes, point.objective, point.relativeError]),
      }}
      note={
        <span class="keys">
          <Key shape="circle" color={0}>
            this plan
          </Key>
          {others.length > 0 && (
            <>
              <Key shape="line" color={0}>
                {props.view.sweep?.method.slice(0, 40)}
              </Key>
              <Key shape="dash" color={3}>
                {others
                  .map(({ label }) => label)
                  .join('; ')
                  .slice(0, 120)}
              </Key>
            </>
          )}
          {current && (
            <Key shape="rectRot" color={1}>
              {current.name.slice(0, 60)}
            </Key>
          )}
          {measured.length > 0 && (
            <Key shape="triangle" color={2}>
              perplexity measured
            </Key>
          )}
        </span>
      }
    />
  );
}
