/** A bar a layer, a segment a matrix, as tall as its bytes and coloured by its bits: figure 4 of the paper. */
import { useMemo } from 'preact/hooks';
import { formatBits, formatBytes } from '../../extension/core/format';
import type { AllocationView, PlanAnswer } from '../../extension/protocol/panels';
import type { ChartSpec } from '../charts';
import { Figure } from '../shared/Figure';
import { useTheme } from '../shared/Panel';
import { Ramp } from '../shared/Raster';
import { sequential } from '../shared/theme';
import type { AllocationHost, Sweep } from './host';

/** The faintest segment still stands out from the background. */
const FAINTEST = 0.15;

/** Where bits stand between those of the smallest and the largest option. */
const share = (bits: number, { least, most }: Sweep['bits']) =>
  FAINTEST + (1 - FAINTEST) * Math.min(1, Math.max(0, (bits - least) / (most - least || 1)));

export function LayersFigure(props: {
  host: AllocationHost;
  view: AllocationView;
  sweep: Sweep;
  answer: PlanAnswer | undefined;
}) {
  const { sweep, answer } = props;
  const version = useTheme();
  const byName = useMemo(() => new Map(sweep.targets.map(target => [target.name, target])), [sweep]);
  const layers = useMemo(() => [...new Set(sweep.targets.map(target => target.layer))].sort((a, b) => a - b), [sweep]);
  const roles = useMemo(() => [...new Set(sweep.targets.map(target => target.role))], [sweep]);
  const rows = answer?.plan.matrices ?? [];

  const spec = useMemo<ChartSpec>(() => {
    const place = new Map(layers.map((layer, index) => [layer, index]));
    const stacks = roles.map(role => {
      // A mixture of experts has many matrices of one role in a layer: their bytes add, their bits average.
      const sums = layers.map(() => ({ bytes: 0, bits: 0, weights: 0 }));
      for (const row of rows) {
        const target = byName.get(row.name);
        const sum = target?.role === role ? sums[place.get(target.layer) ?? -1] : undefined;
        if (!sum || !target) continue;
        const weights = target.shape.reduce((total, size) => total * size, 1);
        sum.bytes += row.bytes;
        sum.bits += row.bits * weights;
        sum.weights += weights;
      }
      return { role, sums };
    });
    return {
      stacked: true,
      series: stacks.map(({ role, sums }) => ({
        label: role,
        kind: 'bars',
        points: sums.map((sum, index) => ({ x: index, y: sum.bytes })),
        color: sums.map(sum => sequential(sum.weights > 0 ? share(sum.bits / sum.weights, sweep.bits) : 0)),
      })),
      x: { label: 'Layer', categories: layers.map(String), format: String },
      y: { label: 'Size', format: formatBytes },
      describe: (series, index) => {
        const stack = stacks[series];
        const sum = stack?.sums[index];
        if (!stack || !sum) return [];
        return [
          `${stack.role}, layer ${layers[index]}`,
          `${formatBits(sum.bits / (sum.weights || 1))} bits per weight, ${formatBytes(sum.bytes)}`,
        ];
      },
    };
  }, [answer, sweep, version]);

  return (
    <Figure
      host={props.host}
      class="tall"
      title="Bits by layer"
      label={`Stacked bars of ${layers.length} layers by ${roles.length} roles, coloured by bits per weight`}
      spec={spec}
      data={{
        name: `${props.view.header.label}-layers`,
        columns: ['layer', 'role', 'tensor', 'bits', 'bytes'],
        rows: rows.map(row => {
          const target = byName.get(row.name);
          return [target?.layer, target?.role, row.name, row.bits, row.bytes];
        }),
      }}
      note={
        <span class="keys">
          <BitsRamp bits={sweep.bits} /> <span>bits per weight; from the bottom: {roles.join(', ')}</span>
        </span>
      }
    />
  );
}

function BitsRamp({ bits }: { bits: Sweep['bits'] }) {
  return (
    <Ramp scale="sequential" low={bits.least} high={bits.most} from={FAINTEST} format={value => value.toFixed(1)} />
  );
}
