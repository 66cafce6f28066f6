/** One side as a grid of cells, driven by arrow keys; roles stay in place while layers scroll. */
import { memo } from 'preact/compat';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { formatNumber, formatShape } from '../../extension/core/format';
import type { HeatmapView, HeatValue } from '../../extension/protocol/panels';
import { shortName } from '../shared/Name';
import { useTheme } from '../shared/Panel';
import { css, diverging, readableOn, sequential, theme } from '../shared/theme';
import { describeRank, type HeatOrder, type HeatScale } from './scale';

/** Below this width a number does not fit into a cell. */
const MAX_LAYERS_WITH_NUMBERS = 16;

export function Heatmap(props: {
  title: string;
  label: string;
  view: HeatmapView;
  values: readonly HeatValue[];
  order: HeatOrder;
  scale: HeatScale;
  active: number;
  onActive: (cell: number) => void;
  onOpen: (cell: number) => void;
}) {
  const { view, active } = props;
  const root = useRef<HTMLDivElement>(null);
  /** Position -> cell, -1 where a layer lacks the role. */
  const lattice = useMemo(() => {
    const places = view.rows.map(() => view.layers.map(() => -1));
    view.cells.forEach((cell, index) => {
      const row = places[cell.row];
      if (row && cell.column < row.length) row[cell.column] = index;
    });
    return places;
  }, [view]);

  useEffect(() => {
    const element = root.current?.querySelector<HTMLElement>(`[data-cell="${active}"]`);
    if (!element || !root.current) return;
    // Only along: the roles' column covers what lies under it, which scrollIntoView does not know.
    const box = element.getBoundingClientRect();
    const frame = root.current.getBoundingClientRect();
    const labels = root.current.querySelector('th')?.getBoundingClientRect().width ?? 0;
    if (box.left < frame.left + labels) root.current.scrollLeft -= frame.left + labels - box.left;
    if (box.right > frame.right) root.current.scrollLeft += box.right - frame.right;
  }, [active]);

  const cellOf = (event: Event): number => {
    const cell = event.target instanceof Element ? event.target.closest<HTMLElement>('[data-cell]') : null;
    return cell ? Number(cell.dataset['cell']) : -1;
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const steps: Record<string, [number, number]> = {
      ArrowLeft: [0, -1],
      ArrowRight: [0, 1],
      ArrowUp: [-1, 0],
      ArrowDown: [1, 0],
      Home: [0, -view.layers.length],
      End: [0, view.layers.length],
    };
    const step = steps[event.key];
    if (event.key === 'Enter') props.onOpen(active);
    const cell = view.cells[active];
    if (!step || !cell) return;
    event.preventDefault();
    const clamp = (value: number, count: number) => Math.min(count - 1, Math.max(0, value));
    const row = clamp(cell.row + step[0], view.rows.length);
    const column = clamp(cell.column + step[1], view.layers.length);
    const next = lattice[row]?.[column] ?? -1;
    if (next < 0) return;
    props.onActive(next);
    root.current?.querySelector<HTMLElement>(`[data-cell="${next}"]`)?.focus();
  };

  return (
    <div class="heatmap-side">
      {props.title && <h4>{props.title}</h4>}
      <div
        class="heatmap"
        ref={root}
        onKeyDown={onKeyDown}
        onPointerOver={event => {
          const cell = cellOf(event);
          if (cell >= 0) props.onActive(cell);
        }}
        onFocusIn={event => {
          const cell = cellOf(event);
          if (cell >= 0) props.onActive(cell);
        }}
        onClick={event => {
          const cell = cellOf(event);
          if (cell >= 0) props.onOpen(cell);
        }}
      >
        <Cells
          label={props.label}
          view={view}
          lattice={lattice}
          values={props.values}
          order={props.order}
          scale={props.scale}
          active={active}
        />
      </div>
    </div>
  );
}

const Cells = memo(function Cells(props: {
  label: string;
  view: HeatmapView;
  lattice: readonly (readonly number[])[];
  values: readonly HeatValue[];
  order: HeatOrder;
  scale: HeatScale;
  active: number;
}) {
  const { view, lattice, active } = props;
  // Every tenth label once they would touch.
  const every = view.layers.length > 40 ? 10 : view.layers.length > 20 ? 4 : 1;
  return (
    <table role="grid" aria-label={props.label} style={{ '--layers': String(view.layers.length) }}>
      <thead>
        <tr>
          <th scope="col" class="corner">
            <span class="sr-only">Role</span>
          </th>
          {view.layers.map((layer, index) => (
            <th key={layer} scope="col" aria-label={`Layer ${layer}`}>
              {index % every === 0 ? <span>{layer}</span> : null}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {view.rows.map((label, row) => (
          <Row
            key={label}
            label={label}
            cells={lattice[row] ?? []}
            view={view}
            values={props.values}
            order={props.order}
            scale={props.scale}
            active={lattice[row]?.includes(active) ? active : -1}
          />
        ))}
      </tbody>
    </table>
  );
});

/** Drawn again only when its own active cell changes: a mouse passing over a large model stays smooth. */
const Row = memo(function Row(props: {
  label: string;
  cells: readonly number[];
  view: HeatmapView;
  values: readonly HeatValue[];
  order: HeatOrder;
  scale: HeatScale;
  active: number;
}) {
  useTheme();
  const { view, scale } = props;
  const numbers = view.layers.length <= MAX_LAYERS_WITH_NUMBERS;
  return (
    <tr>
      <th scope="row" title={props.label.slice(0, 200)}>
        {shortName(props.label)}
      </th>
      {props.cells.map((index, column) => {
        const cell = view.cells[index];
        if (!cell) return <td key={column} role="gridcell" class="absent" aria-label="none" />;
        const value = props.values[index] ?? null;
        const color = typeof value === 'number' ? colorOf(scale, value) : undefined;
        const write = (digits: number) =>
          value === 'nan' ? 'NaN' : value === null ? 'not known' : formatNumber(value, digits);
        const text = write(4);
        const place = describeRank(props.order, index);
        return (
          <td
            key={column}
            role="gridcell"
            data-cell={index}
            tabIndex={index === props.active ? 0 : -1}
            class={`cell ${value === 'nan' ? 'hatched' : value === null ? 'unknown' : ''} ${index === props.active ? 'active' : ''}`}
            style={color ? { backgroundColor: css(color), color: css(readableOn(color)) } : undefined}
            // The accessible name has to contain the text that is shown.
            aria-label={`${props.label} layer ${view.layers[column]}: ${write(numbers ? 3 : 4)}`}
            title={[shortName(cell.name), formatShape(cell.shape), text, place].filter(Boolean).join('\n')}
          >
            {numbers && typeof value === 'number' ? formatNumber(value, 3) : null}
          </td>
        );
      })}
    </tr>
  );
});

export function colorOf(scale: HeatScale, value: number) {
  return scale.kind === 'diverging' ? diverging(scale.share(value)) : sequential(scale.share(value));
}

export const unknownColor = () => theme().grid;
