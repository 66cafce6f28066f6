/** Values of a GGUF header: scalars as they are, arrays by where they lie. */

export type GgufScalar = string | number | bigint | boolean;

/** An array by its place: tokenizers are megabytes that most uses never look at. */
export interface GgufArray {
  /** `string`, `i32`, ... */
  readonly type: string;
  readonly count: number;
  readonly file: string;
  /** Absolute place of its items. */
  readonly offset: number;
  readonly bytes: number;
}

export type GgufValue = GgufScalar | GgufArray;
export type GgufMetadata = ReadonlyMap<string, GgufValue>;

export const isArray = (value: GgufValue | undefined): value is GgufArray => typeof value === 'object';

/** As text, for people: arrays by type and length. */
export function describeValue(value: GgufValue): string {
  return isArray(value) ? `[${value.type} × ${value.count}]` : String(value);
}
