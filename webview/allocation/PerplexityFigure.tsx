/** Predicted perplexity against size, with the band it is expected in, beside what was measured. */
import { useMemo } from 'preact/hooks';
import { baseName, formatBits, formatBytes, formatNumber } from '../../extension/core/format';
import type { PlanAnswer, PlanPrediction, PlanSummary } from '../../extension/protocol/panels';
import type { ChartSpec, Series } from '../charts';
import { Figure } from '../shared/Figure';
import { Key } from '../shared/Key';
import type { AllocationHost } from './host';

type Predicted = PlanSummary & { predicted: NonNullable<PlanSummary['predicted']> };

/** Added loss beyond which a perplexity says no more than that the model is broken: e times the original's. */
const MOST_ADDED = 1;

export function PerplexityFigure(props: {
  host: AllocationHost;
  /** Name of the data's file. */
  name: string;
  prediction: PlanPrediction;
  points: readonly PlanSummary[];
  answer: PlanAnswer | undefined;
  onPick: (point: PlanSummary) => void;
}) {
  const { prediction, answer } = props;
  const all = useMemo(
    () => props.points.filter((point): point is Predicted => point.predicted !== undefined),
    [props.points],
  );
  const points = useMemo(
    () => all.filter(({ predicted }) => predicted.perplexity < prediction.dense * Math.exp(MOST_ADDED)),
    [all, prediction],
  );
  const spec = useMemo<ChartSpec>(() => {
    const lines = (plan: Predicted | (PlanAnswer['plan'] & Pick<Predicted, 'predicted'>)): string[] => [
      `perplexity ${formatNumber(plan.predicted.perplexity)}, between ${formatNumber(plan.predicted.low)} and ${formatNumber(plan.predicted.high)}`,
      `${formatBytes(plan.bytes)}, ${formatBits(plan.effectiveBits)} effective bits`,
    ];
    const curve = (label: string, of: (plan: Predicted) => number, dash: boolean) => ({
      label,
      kind: 'line' as const,
      color: 0,
      dash,
      points: points.map(point => ({ x: point.bytes, y: of(point) })),
      lines: (index: number) => lines(points[index]!),
    });
    const series: (Series & { lines: (index: number) => string[] })[] = [
      curve('Predicted', ({ predicted }) => predicted.perplexity, false),
      curve('At least', ({ predicted }) => predicted.low, true),
      curve('At most', ({ predicted }) => predicted.high, true),
      {
        label: 'Measured',
        kind: 'points',
        color: 2,
        shape: 'triangle',
        radius: 5,
        points: prediction.plans.map(({ bytes, perplexity }) => ({ x: bytes, y: perplexity })),
        lines: index => {
          const { label, perplexity, bytes } = prediction.plans[index]!;
          return [label.slice(0, 100), `perplexity ${formatNumber(perplexity)} measured at ${formatBytes(bytes)}`];
        },
      },
    ];
    const { plan } = answer ?? {};
    if (plan?.predicted) {
      const { predicted } = plan;
      series.push({
        label: 'This plan',
        kind: 'points',
        color: 0,
        radius: 6,
        points: [{ x: plan.bytes, y: predicted.perplexity }],
        lines: () => ['This plan', ...lines({ ...plan, predicted })],
      });
    }
    return {
      series,
      x: { label: 'Size of the checkpoint', format: formatBytes },
      y: { label: 'Perplexity', format: formatNumber, log: true },
      describe: (index, point) => series[index]?.lines(point) ?? [],
      onPick: (index, point) => {
        const picked = index === 0 ? points[point] : undefined;
        if (picked) props.onPick(picked);
      },
    };
  }, [points, answer, prediction]);
  return (
    <Figure
      host={props.host}
      class="tall"
      title="Perplexity against size"
      label={`Predicted perplexity from ${formatNumber(points[0]?.predicted.perplexity)} at ${formatBytes(points[0]?.bytes)} to ${formatNumber(points.at(-1)?.predicted.perplexity)} at ${formatBytes(points.at(-1)?.bytes)}`}
      spec={spec}
      data={{
        name: props.name,
        columns: ['effective bits', 'bytes', 'perplexity', 'at least', 'at most'],
        rows: all.map(({ effectiveBits, bytes, predicted }) => [
          effectiveBits,
          bytes,
          predicted.perplexity,
          predicted.low,
          predicted.high,
        ]),
      }}
      note={
        <span class="keys">
          <Key shape="line" color={0}>
            predicted
          </Key>
          <Key shape="dash" color={0}>
            its band
          </Key>
          <Key shape="triangle" color={2}>
            measured
          </Key>
          <span>
            On {baseName(prediction.text).slice(0, 80)}; the original has {formatNumber(prediction.dense)}.
          </span>
        </span>
      }
    />
  );
}
