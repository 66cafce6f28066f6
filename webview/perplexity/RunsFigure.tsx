/** Perplexity against effective bits: a point a run, the dense model as a line. */
import type { ComponentChildren } from 'preact';
import { useMemo } from 'preact/hooks';
import { formatBits, formatBytes, formatNumber, weighing } from '../../extension/core/format';
import type { PerplexityRun, PerplexityView } from '../../extension/protocol/panels';
import type { ChartSpec } from '../charts';
import { Figure } from '../shared/Figure';
import { Key } from '../shared/Key';
import type { PerplexityHost } from './host';

/** How groups of runs are told apart, by shape as well as colour. */
const GROUPS = [
  { color: 0, shape: 'circle' },
  { color: 2, shape: 'triangle' },
  { color: 3, shape: 'rect' },
] as const;

/** Compressed runs by how errors were weighted, which matters most beside the bits. */
function weightingsOf(runs: readonly PerplexityRun[]): [string, PerplexityRun[]][] {
  const groups = new Map<string, PerplexityRun[]>();
  for (const run of runs) {
    const weighting = weighing[run.weighting ?? 'plain'];
    groups.set(weighting, [...(groups.get(weighting) ?? []), run]);
  }
  return [...groups];
}

export function RunsFigure(props: {
  host: PerplexityHost;
  view: PerplexityView;
  runs: readonly PerplexityRun[];
  selected: string;
  onSelect: (id: string) => void;
  tools: ComponentChildren;
}) {
  const { runs, selected } = props;
  const spec = useMemo<ChartSpec>(() => {
    const dense = runs.find(run => run.dense);
    const others = runs.filter(run => !run.dense);
    const bits = others.map(run => run.effectiveBits);
    const low = Math.min(...bits, 2.2);
    const high = Math.max(...bits, 4.5);
    const chosen = runs.find(run => run.id === selected && !run.dense);
    const lines = (run: PerplexityRun) => [
      run.label,
      `perplexity ${formatNumber(run.perplexity)}`,
      `${formatBits(run.effectiveBits)} effective bits, ${formatBytes(run.bytes)}`,
    ];
    const series = [
      ...(dense
        ? [
            {
              label: 'Dense model',
              kind: 'line' as const,
              color: 1,
              dash: true,
              points: [
                { x: low - 0.1, y: dense.perplexity },
                { x: high + 0.1, y: dense.perplexity },
              ],
              lines: () => lines(dense),
              ids: [dense.id, dense.id],
            },
          ]
        : []),
      ...(chosen
        ? [
            {
              label: 'Selected',
              kind: 'points' as const,
              color: 1,
              radius: 9,
              shape: 'rectRot' as const,
              points: [{ x: chosen.effectiveBits, y: chosen.perplexity }],
              lines: () => lines(chosen),
              ids: [chosen.id],
            },
          ]
        : []),
      ...weightingsOf(others).map(([weighting, group], index) => ({
        label: weighting,
        kind: 'points' as const,
        color: GROUPS[index % GROUPS.length]!.color,
        shape: GROUPS[index % GROUPS.length]!.shape,
        radius: 5,
        points: group.map(run => ({ x: run.effectiveBits, y: run.perplexity })),
        lines: (at: number) => lines(group[at]!),
        ids: group.map(run => run.id),
      })),
    ];
    const spread = Math.max(...runs.map(run => run.perplexity)) / Math.min(...runs.map(run => run.perplexity));
    return {
      series,
      x: { label: 'Effective bits per weight', format: value => formatNumber(value), min: low - 0.1, max: high + 0.1 },
      y: { label: 'Perplexity', format: value => formatNumber(value), log: spread > 3 },
      describe: (index, point) => series[index]?.lines(point) ?? [],
      onPick: (index, point) => {
        const id = series[index]?.ids[point];
        if (id !== undefined) props.onSelect(id);
      },
    };
  }, [runs, selected]);
  return (
    <Figure
      host={props.host}
      class="tall"
      title="Perplexity against effective bits"
      label={`Perplexity of ${runs.length} runs against effective bits per weight`}
      spec={spec}
      tools={props.tools}
      data={{
        name: `${props.view.header.label}-perplexity`,
        columns: ['run', 'effective bits', 'perplexity', 'bytes', 'tokens'],
        rows: runs.map(run => [run.label, run.effectiveBits, run.perplexity, run.bytes, run.tokens]),
      }}
      note={
        <span class="keys">
          {weightingsOf(runs.filter(run => !run.dense)).map(([weighting], index) => (
            <Key key={weighting} {...GROUPS[index % GROUPS.length]!}>
              {weighting}
            </Key>
          ))}
          <Key shape="rectRot" color={1}>
            selected
          </Key>
          <Key shape="dash" color={1}>
            dense model
          </Key>
        </span>
      }
    />
  );
}
