/** The heatmap as a picture to save, with its title, labels and scale. */
import { formatNumber } from '../../extension/core/format';
import type { HeatmapView, HeatValue } from '../../extension/protocol/panels';
import { css, theme } from '../shared/theme';
import { colorOf, unknownColor } from './Heatmap';
import type { HeatScale } from './scale';

const CELL = { width: 18, height: 22 };
const LEFT = 110;
const TOP = 40;
const GAP = 44;

export function paintHeatmap(
  canvas: HTMLCanvasElement,
  view: HeatmapView,
  sides: readonly { label: string; values: readonly HeatValue[] }[],
  scale: HeatScale,
  title: string,
): void {
  const { background, foreground, muted, fontFamily } = theme();
  const sideHeight = view.rows.length * CELL.height + GAP;
  const density = 2;
  const width = Math.max(420, LEFT + view.layers.length * CELL.width + 20);
  const height = TOP + sides.length * sideHeight + 30;
  canvas.width = width * density;
  canvas.height = height * density;
  const context = canvas.getContext('2d');
  if (!context) return;
  context.scale(density, density);
  context.fillStyle = css(background);
  context.fillRect(0, 0, width, height);
  context.font = `600 13px ${fontFamily}`;
  context.fillStyle = css(foreground);
  context.fillText(title.slice(0, 120), 12, 22);
  context.font = `11px ${fontFamily}`;

  sides.forEach((side, index) => {
    const top = TOP + index * sideHeight + 24;
    context.fillStyle = css(muted);
    context.textAlign = 'left';
    context.fillText(side.label, 12, top - 10);
    context.textAlign = 'right';
    view.rows.forEach((label, row) => context.fillText(label.slice(0, 16), LEFT - 8, top + (row + 0.7) * CELL.height));
    context.textAlign = 'center';
    const every = view.layers.length > 20 ? 10 : 1;
    view.layers.forEach((layer, column) => {
      if (column % every === 0) context.fillText(String(layer), LEFT + (column + 0.5) * CELL.width, top - 6);
    });
    view.cells.forEach((cell, at) => {
      const value = side.values[at] ?? null;
      const x = LEFT + cell.column * CELL.width;
      const y = top + cell.row * CELL.height;
      context.fillStyle = css(typeof value === 'number' ? colorOf(scale, value) : unknownColor());
      context.fillRect(x, y, CELL.width - 1, CELL.height - 1);
      if (value === 'nan') hatch(context, x, y, CELL.width - 1, CELL.height - 1, css(foreground));
    });
  });

  const base = height - 20;
  for (let step = 0; step < 120; step++) {
    const share = step / 119;
    const value = scale.log
      ? Math.exp(Math.log(scale.low) + share * (Math.log(scale.high) - Math.log(scale.low)))
      : scale.low + share * (scale.high - scale.low);
    context.fillStyle = css(colorOf(scale, value));
    context.fillRect(LEFT + step, base, 1, 10);
  }
  context.fillStyle = css(foreground);
  context.textAlign = 'right';
  context.fillText(formatNumber(scale.low), LEFT - 6, base + 9);
  context.textAlign = 'left';
  context.fillText(formatNumber(scale.high), LEFT + 126, base + 9);
}

/** Lines across a rectangle, as on the screen. */
function hatch(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  width: number,
  height: number,
  color: string,
): void {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.strokeStyle = color;
  context.beginPath();
  for (let start = -height; start < width; start += 5) {
    context.moveTo(x + start, y + height);
    context.lineTo(x + start + height, y);
  }
  context.stroke();
  context.restore();
}
