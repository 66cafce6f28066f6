/**
 * pack-quantized of compressed-tensors, symmetric (vllm-project/compressed-tensors 0.20, compressors/pack_quantized): of each
 * Linear P with weight [out, in]
 *   P.weight_packed  I32 [out, in bits / 32]   rows are little-endian streams of fields, q + 2^(bits-1)
 *   P.weight_scale   [out, in / group]         w = q scale
 *   P.weight_shape   I64 [2]
 */
import type { TensorSpec } from '../../checkpoint/serialize';
import { optionParts } from '../../options/option';
import type { Option } from '../../options/types';

const WORD = 32;

/** What the tensors of a matrix are called: the module's name and what is stored. */
export const moduleOf = (matrix: string): string => matrix.replace(/\.weight$/, '');

/** Bits and group of an option, or undefined for one that the format has no form for at this width. */
export function schemeOf({ grid, scales, transform, rank }: Option, cols: number): Scheme | undefined {
  if (grid.kind !== 'int' || !grid.symmetric || scales.kind !== 'searched' || transform !== 'none' || rank > 0)
    return undefined;
  const { size } = scales;
  return cols % size === 0 && (cols * grid.bits) % WORD === 0 ? { bits: grid.bits, size } : undefined;
}

export interface Scheme {
  readonly bits: number;
  /** Columns a scale. */
  readonly size: number;
}

export interface MatrixTensors {
  readonly packed: TensorSpec;
  readonly scale: TensorSpec;
  readonly shape: TensorSpec;
}

/** The tensors of a [rows, cols] matrix. */
export function tensorsOf(matrix: string, option: Option, rows: number, cols: number): MatrixTensors {
  const module = moduleOf(matrix);
  const { bits } = schemeOf(option, cols)!;
  const scale = optionParts(option, rows, cols).find(({ name }) => name === 'group_scales')!;
  return {
    packed: { name: `${module}.weight_packed`, dtype: 'I32', shape: [rows, (cols * bits) / WORD] },
    scale: { name: `${module}.weight_scale`, dtype: scale.dtype, shape: scale.shape },
    shape: { name: `${module}.weight_shape`, dtype: 'I64', shape: [2] },
  };
}

/** Content of weight_shape. */
export const shapeBytes = (rows: number, cols: number): Uint8Array =>
  new Uint8Array(BigInt64Array.of(BigInt(rows), BigInt(cols)).buffer);

/** `quantization_config` of a folder: a group of modules for each scheme, and the linear modules that have none. */
export function quantizationConfig(
  schemes: ReadonlyMap<string, Scheme>,
  ignore: readonly string[],
): Record<string, unknown> {
  const groups = new Map<string, { scheme: Scheme; targets: string[] }>();
  for (const [matrix, scheme] of schemes) {
    const key = `${scheme.bits} ${scheme.size}`;
    const group = groups.get(key) ?? { scheme, targets: [] };
    groups.set(key, group);
    group.targets.push(moduleOf(matrix));
  }
  return {
    quant_method: 'compressed-tensors',
    format: 'pack-quantized',
    quantization_status: 'compressed',
    ignore,
    config_groups: Object.fromEntries(
      [...groups.values()].map(({ scheme: { bits, size }, targets }, i) => [
        `group_${i}`,
        {
          targets,
          weights: {
            num_bits: bits,
            type: 'int',
            symmetric: true,
            strategy: 'group',
            group_size: size,
            dynamic: false,
          },
          input_activations: null,
          output_activations: null,
          format: 'pack-quantized',
        },
      ]),
    ),
  };
}
