/** Tensors of a GGUF file as the native module reads them. */
import { isDtype } from '../../dtypes';
import { LqError } from '../../errors';
import type { DenseSource, GgufSource } from '../../native';
import { quoteName } from '../../text';
import type { TensorInfo } from '../types';
import { architectureNamed } from './architectures/registry';
import { storedOffset } from './names';
import { rowOrder, type Heads } from './rows';
import { ggufTypeNamed } from './types';
import type { GgufMetadata } from './values';

/** Whether the values of a stored type can be read. */
export const isReadable = (dtype: TensorInfo['dtype']): boolean => ggufTypeNamed(dtype)?.type.readable ?? false;

/**
 * Where a tensor's values are. Rows are the innermost dimension; a vector is [1, n]. Rows of q and k that some architectures
 * store in pairs come back in the order of transformers, norms without what they count from.
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
  const architecture = architectureNamed(metadata.get('general.architecture'));
  const order = rowOrder(architecture, name, rows === 1 ? cols : rows, () =>
    headsOf(metadata, architecture!.name, { tensor: name, file }),
  );
  const counted = storedOffset(architecture, name);
  if (order === undefined && counted === 0 && isDtype(dtype))
    return { kind: 'dense', path: file, offset, dtype, rows, cols };
  const range = { path: file, offset, bytes };
  return {
    ...{ kind: 'gguf', type: dtype, rows, cols, range },
    ...(order && { order }),
    ...(counted !== 0 && { plus: -counted }),
  };
}

/** @throws LqError 'header-entry' where the keys say no numbers of heads. */
function headsOf(
  metadata: GgufMetadata,
  architecture: string,
  where: { readonly tensor: string; readonly file: string },
): Heads {
  const heads = metadata.get(`${architecture}.attention.head_count`);
  const kvHeads = metadata.get(`${architecture}.attention.head_count_kv`) ?? heads;
  const isCount = (value: unknown): value is number =>
    typeof value === 'number' && Number.isInteger(value) && value > 0;
  if (isCount(heads) && isCount(kvHeads) && heads % kvHeads === 0) return { heads, kvHeads };
  throw new LqError(
    'header-entry',
    `${quoteName(where.tensor)}: its rows are ordered by heads, and ${architecture}.attention.head_count is no number of heads`,
    where,
  );
}
