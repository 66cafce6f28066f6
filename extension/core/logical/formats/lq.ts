import { shortLabel } from '../../options/option';
import { matrixParts, parseShardMetadata, type ShardDescription } from '../../packed/format';
import { LqError } from '../../errors';
import type { ShardInfo } from '../../checkpoint/types';
import { partsOf, stem, type Recogniser } from './recogniser';

const descriptions = new WeakMap<ShardInfo, ShardDescription | null>();

/** What stands for a matrix: its codes, or where it has none the left factor, whichever way that is stored. */
const SUFFIXES = ['.lq.codes', '.lq.l1.codes', '.lq.l1'];

/** Our own packed checkpoints: `P.lq.codes` and its neighbours, described in the metadata of their shard. */
export const recogniseLq: Recogniser = (tensor, source) => {
  const name = SUFFIXES.map(suffix => stem(tensor.name, suffix)).find(found => found !== undefined);
  const shard = name === undefined ? undefined : source.shards.find(({ file }) => file === tensor.file);
  const description = shard && describe(shard);
  const matrix = name === undefined ? undefined : description?.matrices[name];
  if (name === undefined || !description || !matrix) return undefined;
  const names = matrixParts(name, matrix, description.factors).map(part => part.name);
  if (SUFFIXES.map(suffix => name + suffix).find(one => names.includes(one)) !== tensor.name) return undefined;
  return {
    name,
    shape: matrix.transposed === true ? [...matrix.shape].reverse() : matrix.shape,
    transposed: matrix.transposed === true,
    dtype: shortLabel(matrix.option),
    format: 'lq',
    parts: partsOf(source, '', names),
  };
};

/** A damaged description leaves the parts as plain tensors, to be looked at; using the checkpoint reports the damage. */
function describe(shard: ShardInfo): ShardDescription | null {
  let found = descriptions.get(shard);
  if (found === undefined) {
    try {
      found = parseShardMetadata(shard.metadata, shard.file) ?? null;
    } catch (error) {
      if (!(error instanceof LqError)) throw error;
      found = null;
    }
    descriptions.set(shard, found);
  }
  return found;
}
