import type { QuantConfig, ScaleType } from '../../core/native';

/** The values each field of a configuration may take, as the settings name them. */
export interface GridAxes {
  readonly b0: readonly number[];
  readonly b1: readonly number[];
  readonly b2: readonly ScaleType[];
  readonly B0: readonly number[];
  readonly B1: readonly number[];
}

/** The 243 configurations of the paper. */
export const paperAxes: GridAxes = {
  b0: [2, 3, 4],
  b1: [2, 3, 4],
  b2: ['bf16', 'fp16', 'fp32'],
  B0: [16, 32, 64],
  B1: [16, 64, 256],
};

/** Every combination of the axes, or undefined for the paper's, which is what the engine takes unasked. */
export function gridConfigs(axes: GridAxes): QuantConfig[] | undefined {
  const fields = ['b0', 'b1', 'b2', 'B0', 'B1'] as const;
  const isPaper = fields.every(field => sameValues<string | number>(axes[field], paperAxes[field]));
  if (isPaper) return undefined;
  return axes.b0.flatMap(b0 =>
    axes.b1.flatMap(b1 => axes.b2.flatMap(b2 => axes.B0.flatMap(B0 => axes.B1.map(B1 => ({ b0, b1, b2, B0, B1 }))))),
  );
}

const sameValues = <T>(a: readonly T[], b: readonly T[]): boolean =>
  a.length === b.length && a.every(value => b.includes(value));
