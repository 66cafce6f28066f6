/** Codes that no known format explains: their figures count stored elements, and that is said. */
import { elementCount } from '../dtypes';
import { printable, quoteName, shortened } from '../text';
import type { CheckpointProblem, LogicalTensor } from '../checkpoint/types';
import { quantizationConfig, type FormatSource } from './formats/recogniser';

/** Types that codes are packed into. */
const CODES: ReadonlySet<string> = new Set(['U8', 'I8', 'U16', 'I16', 'U32', 'I32']);
const COMPANION = /scale|zero|absmax|codebook|centroid|bitmask|quant|lut/i;
/** Smaller ones are counters and index vectors. */
const LEAST_ELEMENTS = 256;

/** One warning for all weights of integers that look like packed codes and belong to no format that is known. */
export function unknownLayouts(source: FormatSource, logical: readonly LogicalTensor[]): CheckpointProblem[] {
  const suspects = logical.filter(
    ({ format, dtype, shape }) =>
      format === 'dense' &&
      CODES.has(dtype) &&
      shape.length > 1 &&
      elementCount(shape) >= LEAST_ELEMENTS &&
      !isMask(shape),
  );
  if (suspects.length === 0) return [];
  const quantized = quantizationConfig(source).quant_method !== undefined || source.config?.quantization !== undefined;
  const scaledModules = new Set(
    source.tensors.filter(({ name }) => COMPANION.test(lastSegment(name))).map(({ name }) => moduleOf(name)),
  );
  const unknown = quantized ? suspects : suspects.filter(({ name }) => scaledModules.has(moduleOf(name)));
  const first = unknown[0];
  if (!first) return [];
  const file = first.parts[0]?.file;
  const what = unknown.length === 1 ? '' : `${unknown.length} tensors, the first `;
  return [
    {
      severity: 'warning',
      code: 'unknown-layout',
      message:
        `${what}${quoteName(first.name)}, ${unknown.length === 1 ? 'holds' : 'hold'} codes (${first.dtype}) in a layout that is not ` +
        'known: shapes, parameters and bits per weight count stored elements, not the weights they stand for',
      ...(file !== undefined && { file }),
      tensor: first.name,
    },
  ];
}

/** Of an embedding beside its adapter, and of modules that were trained whole. */
const KEPT_WHOLE = /\.base_layer\.(?:weight|bias)$/;

/**
 * One remark for an adapter whose method is not among those that are joined or named by their tensors: adapter_config.json
 * names it.
 */
export function unknownAdapter(source: FormatSource, logical: readonly LogicalTensor[]): CheckpointProblem[] {
  const method = source.adapterConfig?.peft_type;
  if (typeof method !== 'string') return [];
  const saved = source.adapterConfig?.modules_to_save;
  const modules = Array.isArray(saved) ? saved : [];
  const isSaved = (name: string): boolean => name.split('.').some(segment => modules.includes(segment));
  const plain = logical.filter(
    ({ format, role, name }) =>
      format === 'dense' && !TRAINED_WHOLE.has(role) && !KEPT_WHOLE.test(name) && !isSaved(name),
  );
  const first = plain[0];
  if (!first) return [];
  const file = first.parts[0]?.file;
  const what =
    plain.length === 1 ? quoteName(first.name) : `${plain.length} tensors, the first ${quoteName(first.name)},`;
  return [
    {
      severity: 'information',
      code: 'adapter-method',
      message: `${what} of an adapter (${printable(shortened(method, 40))}): shown as stored, not as the update of a weight`,
      ...(file !== undefined && { file }),
      tensor: first.name,
    },
  ];
}

/** A vocabulary that was made larger is saved with its adapter. */
const TRAINED_WHOLE: ReadonlySet<string> = new Set(['embedding', 'head']);

/** A causal mask, [1, 1, n, n]. */
const isMask = (shape: readonly number[]): boolean => shape.length === 4 && shape[0] === 1 && shape[1] === 1;
const lastSegment = (name: string): string => name.slice(name.lastIndexOf('.') + 1);
const moduleOf = (name: string): string => name.slice(0, Math.max(0, name.lastIndexOf('.')));
