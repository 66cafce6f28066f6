/** A matrix of numbers as a picture: down-sampled weights, differences, cells' absmax. */
import { useEffect, useRef } from 'preact/hooks';
import { formatNumber } from '../../extension/core/format';
import { useTheme } from './Panel';
import { css, diverging, sequential, theme } from './theme';

export interface Picture {
  rows: number;
  cols: number;
  /** Row-major; null where it is not known. */
  values: readonly (number | null)[];
  scale: 'sequential' | 'diverging';
  /** Value drawn in the strongest colour. */
  limit: number;
}

function drawPicture(canvas: HTMLCanvasElement, picture: Picture): void {
  const { rows, cols, values, scale, limit } = picture;
  canvas.width = Math.max(1, cols);
  canvas.height = Math.max(1, rows);
  const context = canvas.getContext('2d');
  if (!context) return;
  const image = context.createImageData(canvas.width, canvas.height);
  const unknown = theme().muted;
  for (let index = 0; index < rows * cols; index++) {
    const value = values[index];
    const share = value === null || value === undefined ? undefined : value / (limit || 1);
    const color = share === undefined ? unknown : scale === 'diverging' ? diverging(share) : sequential(share);
    image.data.set([...color, 255], index * 4);
  }
  context.putImageData(image, 0, 0);
}

/** The picture with its legend; `label` says in words what it shows. */
export function Raster(props: {
  picture: Picture;
  label: string;
  /** Size of the matrix the cells stand for, [rows, cols]. */
  shape: readonly number[];
  canvasRef?: (canvas: HTMLCanvasElement | null) => void;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const tip = useRef<HTMLDivElement>(null);
  const version = useTheme();
  const { picture } = props;
  useEffect(() => {
    if (canvas.current) drawPicture(canvas.current, picture);
    props.canvasRef?.(canvas.current);
  }, [picture, version]);

  const onMove = (event: PointerEvent) => {
    const box = canvas.current?.getBoundingClientRect();
    if (!box || !tip.current) return;
    const row = Math.min(picture.rows - 1, Math.floor(((event.clientY - box.top) / box.height) * picture.rows));
    const col = Math.min(picture.cols - 1, Math.floor(((event.clientX - box.left) / box.width) * picture.cols));
    if (row < 0 || col < 0) return;
    const [height = picture.rows, width = picture.cols] = props.shape;
    const span = (index: number, of: number, size: number) => {
      const from = Math.floor((index * size) / of);
      const to = Math.max(from, Math.floor(((index + 1) * size) / of) - 1);
      return from === to ? `${from}` : `${from}–${to}`;
    };
    const value = picture.values[row * picture.cols + col];
    tip.current.textContent = `row ${span(row, picture.rows, height)}, column ${span(col, picture.cols, width)}: ${formatNumber(value)}`;
  };

  return (
    <div class="raster">
      <canvas
        ref={canvas}
        role="img"
        aria-label={props.label}
        onPointerMove={onMove}
        onPointerLeave={() => tip.current && (tip.current.textContent = '')}
      />
      <div class="raster-foot">
        <Ramp scale={picture.scale} low={picture.scale === 'diverging' ? -picture.limit : 0} high={picture.limit} />
        <div class="raster-tip muted" ref={tip} />
      </div>
    </div>
  );
}

/** The colour scale with its ends written out. */
export function Ramp(props: {
  scale: 'sequential' | 'diverging';
  low: number;
  high: number;
  format?: (value: number) => string;
  /** Where on the colour scale the low end lies. */
  from?: number;
}) {
  const version = useTheme();
  const bar = useRef<HTMLDivElement>(null);
  const format = props.format ?? formatNumber;
  useEffect(() => {
    if (!bar.current) return;
    const stops = Array.from({ length: 11 }, (_unused, index) => {
      const share = (props.from ?? 0) + (1 - (props.from ?? 0)) * (index / 10);
      return css(props.scale === 'diverging' ? diverging(share * 2 - 1) : sequential(share));
    });
    bar.current.style.background = `linear-gradient(to right, ${stops.join(', ')})`;
  }, [props.scale, version]);
  return (
    <div class="ramp">
      <span>{format(props.low)}</span>
      <div class="ramp-bar" ref={bar} />
      <span>{format(props.high)}</span>
    </div>
  );
}
