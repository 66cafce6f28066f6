/**
 * Every chart of every panel: a small description in, a themed chart.js chart out, and nothing else knows chart.js.
 * Colours come from the theme and follow it when it changes; series also differ by dash or point shape, never by hue alone.
 */
import {
  BarController,
  BarElement,
  CategoryScale,
  Chart,
  LinearScale,
  LineController,
  LineElement,
  LogarithmicScale,
  PointElement,
  ScatterController,
  Tooltip,
  type ChartConfiguration,
  type ChartDataset,
  type ChartType,
  type Plugin,
  type ScaleOptionsByType,
} from 'chart.js';
import { css, onThemeChange, theme, type Rgb } from './shared/theme';
import { logTicks } from './shared/ticks';

Chart.register(
  BarController,
  BarElement,
  CategoryScale,
  LinearScale,
  LineController,
  LineElement,
  LogarithmicScale,
  PointElement,
  ScatterController,
  Tooltip,
);

interface Axis {
  label: string;
  format: (value: number) => string;
  log?: boolean;
  min?: number;
  max?: number;
  /** Names of the positions, for bars; values are then 0, 1, 2, ... Without names a bar stands at its x. */
  categories?: readonly string[];
}
interface Point {
  x: number;
  y: number;
}
export interface Series {
  label: string;
  kind: 'line' | 'points' | 'bars';
  points: readonly Point[];
  /** Position in the theme's list of series colours, or a colour for every point. */
  color: number | readonly Rgb[];
  dash?: boolean;
  shape?: 'circle' | 'rect' | 'rectRot' | 'triangle';
  /** Point radius in pixels; lines have none unless given. */
  radius?: number;
}
export interface ChartSpec {
  series: readonly Series[];
  x: Axis;
  y: Axis;
  stacked?: boolean;
  /** A dashed vertical line with a caption. */
  marks?: readonly { x: number; label: string }[];
  /** Lines of the tooltip of a point. */
  describe: (series: number, index: number) => string[];
  onPick?: (series: number, index: number) => void;
}
export interface ChartHandle {
  update(spec: ChartSpec): void;
  dispose(): void;
  readonly canvas: HTMLCanvasElement;
}

type AnyChart = Chart<ChartType, Point[] | number[]>;

const colorOf = (series: Series): Rgb[] =>
  typeof series.color === 'number' ? [theme().series[series.color % theme().series.length]!] : [...series.color];

function dataset(series: Series, spec: ChartSpec): ChartDataset<ChartType, Point[] | number[]> {
  const colors = colorOf(series);
  const line = css(colors[0] ?? theme().foreground);
  if (series.kind === 'bars') {
    return {
      type: 'bar',
      label: series.label,
      data: spec.x.categories ? series.points.map(point => point.y) : [...series.points],
      backgroundColor: colors.length === 1 ? line : colors.map(color => css(color)),
      borderColor: css(theme().background),
      borderWidth: spec.stacked ? { top: 1, bottom: 0, left: 0, right: 0 } : 0,
      borderSkipped: false,
      categoryPercentage: spec.stacked ? 0.9 : 1,
      barPercentage: spec.stacked ? 0.98 : 0.96,
      ...(spec.stacked ? { stack: 'all' } : { grouped: false }),
    };
  }
  return {
    type: series.kind === 'line' ? 'line' : 'scatter',
    label: series.label,
    data: [...series.points],
    borderColor: line,
    backgroundColor: line,
    borderWidth: series.kind === 'line' ? 1.5 : 1,
    borderDash: series.dash ? [4, 3] : [],
    pointRadius: series.radius ?? (series.kind === 'line' ? 0 : 4),
    pointHoverRadius: (series.radius ?? 4) + 1,
    pointHitRadius: 8,
    pointStyle: series.shape ?? 'circle',
    pointBackgroundColor: line,
    pointBorderColor: css(theme().background),
    order: series.kind === 'points' ? 0 : 1,
  };
}

function scale(axis: Axis, direction: 'x' | 'y', spec: ChartSpec) {
  const { foreground, muted, grid, fontFamily } = theme();
  const options = {
    type: axis.categories ? 'category' : axis.log ? 'logarithmic' : 'linear',
    ...(axis.categories && { labels: axis.categories }),
    ...(axis.min !== undefined && { min: axis.min }),
    ...(axis.max !== undefined && { max: axis.max }),
    stacked: spec.stacked ?? false,
    // Bars at a number stand on the axis itself, whose ends are theirs.
    ...(direction === 'x' && { offset: axis.categories !== undefined }),
    ...(axis.log && {
      afterBuildTicks: (built: { min: number; max: number; ticks: { value: number }[] }) => {
        built.ticks = logTicks(built.min, built.max).map(value => ({ value }));
      },
    }),
    title: { display: axis.label !== '', text: axis.label, color: css(muted), font: { family: fontFamily, size: 11 } },
    border: { color: css(grid) },
    grid: { color: css(grid), display: direction === 'y', tickLength: 4 },
    ticks: {
      color: css(foreground),
      font: { family: fontFamily, size: 11 },
      maxRotation: 0,
      autoSkipPadding: 12,
      maxTicksLimit: direction === 'y' ? 6 : 12,
      // The ends of a range are seldom round numbers, and crowd those that are.
      includeBounds: false,
      ...(!axis.categories && { callback: (value: string | number) => axis.format(Number(value)) }),
    },
  };
  return options as unknown as ScaleOptionsByType<'linear'>;
}

/** Paints the background, so that a saved picture is not transparent, and the vertical marks. */
const paint = (spec: () => ChartSpec): Plugin => ({
  id: 'paint',
  beforeDraw: ({ ctx, width, height }) => {
    ctx.save();
    ctx.fillStyle = css(theme().background);
    ctx.fillRect(0, 0, width, height);
    ctx.restore();
  },
  afterDatasetsDraw: chart => {
    const { ctx, chartArea, scales } = chart;
    ctx.save();
    ctx.font = `11px ${theme().fontFamily}`;
    ctx.fillStyle = css(theme().foreground);
    ctx.strokeStyle = css(theme().muted);
    ctx.setLineDash([3, 3]);
    for (const mark of spec().marks ?? []) {
      const x = scales['x']?.getPixelForValue(mark.x) ?? 0;
      if (x < chartArea.left || x > chartArea.right) continue;
      ctx.beginPath();
      ctx.moveTo(x, chartArea.top);
      ctx.lineTo(x, chartArea.bottom);
      ctx.stroke();
      const left = x + 60 > chartArea.right;
      ctx.textAlign = left ? 'right' : 'left';
      ctx.fillText(mark.label, x + (left ? -4 : 4), chartArea.top + 10);
    }
    ctx.restore();
  },
});

function options(spec: ChartSpec): ChartConfiguration<ChartType, Point[] | number[]>['options'] {
  const { background, foreground, border, fontFamily } = theme();
  return {
    animation: false,
    responsive: true,
    maintainAspectRatio: false,
    layout: { padding: { top: 6, right: 8 } },
    interaction: spec.series.some(series => series.kind === 'bars')
      ? { mode: 'nearest', intersect: spec.stacked ?? false, axis: spec.stacked ? 'xy' : 'x' }
      : { mode: 'nearest', intersect: false },
    scales: { x: scale(spec.x, 'x', spec), y: scale(spec.y, 'y', spec) },
    onClick: (_event, elements) => {
      const hit = elements[0];
      if (hit) spec.onPick?.(hit.datasetIndex, hit.index);
    },
    plugins: {
      tooltip: {
        backgroundColor: css(background),
        titleColor: css(foreground),
        bodyColor: css(foreground),
        borderColor: css(border),
        borderWidth: 1,
        cornerRadius: 3,
        displayColors: false,
        padding: 8,
        titleFont: { family: fontFamily, size: 12 },
        bodyFont: { family: fontFamily, size: 12 },
        callbacks: {
          title: () => '',
          label: item => spec.describe(item.datasetIndex, item.dataIndex).map(line => line.slice(0, 80)),
        },
      },
    },
  };
}

/** Draws on a canvas whose parent has a size. */
export function drawChart(canvas: HTMLCanvasElement, first: ChartSpec): ChartHandle {
  let spec = first;
  const chart: AnyChart = new Chart<ChartType, Point[] | number[]>(canvas, {
    type: 'line',
    data: { datasets: spec.series.map(series => dataset(series, spec)) },
    options: options(spec) ?? {},
    plugins: [paint(() => spec)],
  });
  const refresh = () => {
    chart.data.datasets = spec.series.map(series => dataset(series, spec));
    chart.options = options(spec) ?? {};
    chart.update('none');
  };
  const stop = onThemeChange(refresh);
  return {
    canvas,
    update: next => {
      spec = next;
      refresh();
    },
    dispose: () => {
      stop();
      chart.destroy();
    },
  };
}
