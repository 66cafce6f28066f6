/** An entry of a chart's legend, drawn as the chart draws its points: the same shape in the same colour. */
import type { ComponentChildren } from 'preact';
import type { Series } from '../charts';
import { useTheme } from './Panel';
import { css, theme } from './theme';

const outlines = {
  circle: 'M6 1.5a4.5 4.5 0 100 9 4.5 4.5 0 000-9z',
  triangle: 'M6 1.5l4.8 8.5H1.2z',
  rect: 'M2 2h8v8H2z',
  rectRot: 'M6 .8L11.2 6 6 11.2.8 6z',
} as const;

export function Key(props: {
  /** `line` and `dash` for lines. */
  shape: NonNullable<Series['shape']> | 'line' | 'dash';
  /** Position in the theme's list of series colours. */
  color: number;
  children: ComponentChildren;
}) {
  useTheme();
  const { series } = theme();
  const color = css(series[props.color % series.length]!);
  return (
    <span class="key">
      <svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true" focusable="false">
        {props.shape === 'dash' || props.shape === 'line' ? (
          <path
            d="M0 6h12"
            stroke={color}
            stroke-width="2"
            {...(props.shape === 'dash' && { 'stroke-dasharray': '3 2' })}
          />
        ) : (
          <path d={outlines[props.shape]} fill={color} />
        )}
      </svg>
      {props.children}
    </span>
  );
}
