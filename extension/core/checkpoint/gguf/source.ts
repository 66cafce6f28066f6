/** Tensors of a GGUF file as the native module reads them. */
import { isDtype } from '../../dtypes';
import { LqError } from '../../errors';
import type { DenseSource, GgufSource } from '../../native';
import { quoteName } from '../../text';
import type { TensorInfo } from '../types';
import { PAIRED, pairedRows } from './names';
import { ggufTypeNamed } from './types';
import type { GgufMetadata } from './values';

/** Whether the values of a stored type can be read. */
export const isReadable = (dtype: TensorInfo['dtype']): boolean => ggufTypeNamed(dtype)?.type.readable ?? false;

/**
 * Where a tensor's values are. Rows are the innermost dimension; a vector is [1, n]. Rows of q and k that some
 * architectures store in pairs come back in the order of transformers.
 * @throws LqError 'unsupported-dtype' for a type whose values cannot be read.
 */
export function ggufSource(tensor: TensorInfo, metadata: GgufMetadata): DenseSource | GgufSource {
  const { name, dtype, file, offset, bytes, shape } = tensor;
  if (!isReadable(dtype))
    throw new LqError('unsupported-dtype', `${quoteName(name)} is stored as ${dtype}: its values cannot be read.`, {
      file,
      tensor: name,
    });
  const cols = shape.at(-1) ?? 1;
  const rows = shape.slice(0, -1).reduce((product, size) => product * size, 1);
  const heads = headsOf(name, metadata);
  if (heads === undefined && isDtype(dtype)) return { kind: 'dense', path: file, offset, dtype, rows, cols };
  const range = { path: file, offset, bytes };
  return { kind: 'gguf', type: dtype, rows, cols, range, ...(heads !== undefined && { heads }) };
}

/** Heads whose rows are stored in pairs, or undefined when the rows are in order. */
function headsOf(name: string, metadata: GgufMetadata): number | undefined {
  const architecture = metadata.get('general.architecture');
  if (typeof architecture !== 'string' || !PAIRED.has(architecture)) return undefined;
  const which = pairedRows(name);
  if (which === undefined) return undefined;
  const heads = metadata.get(`${architecture}.attention.head_count`);
  const found = which === 'heads' ? heads : (metadata.get(`${architecture}.attention.head_count_kv`) ?? heads);
  if (typeof found === 'number' && Number.isInteger(found) && found > 0) return found;
  throw new LqError(
    'header-entry',
    `${quoteName(name)}: its rows are ordered by heads, and ${architecture}.attention.head_count is no number of heads`,
    { tensor: name },
  );
}
