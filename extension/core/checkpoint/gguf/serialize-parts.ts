/** A GGUF file as several: `NAME-00001-of-00003.gguf` and its kin, as `gguf-split` of llama.cpp writes and its loader checks them. */
import { LqError } from '../../errors';
import { quoteName } from '../../text';
import {
  ALIGNMENT,
  ggufTensorBytes,
  padded,
  serializeGguf,
  type GgufField,
  type GgufTensorSpec,
  type SerializedGguf,
} from './serialize';

/** The name of a part, of one without a suffix. */
export const partName = (stem: string, part: number, parts: number): string =>
  parts === 1
    ? `${stem}.gguf`
    : `${stem}-${String(part + 1).padStart(5, '0')}-of-${String(parts).padStart(5, '0')}.gguf`;

/** What a part says of itself. */
const splitFields = (part: number, parts: number, tensors: number): [string, GgufField][] => [
  ['split.no', { type: 'u16', value: part }],
  ['split.count', { type: 'u16', value: parts }],
  ['split.tensors.count', { type: 'i32', value: tensors }],
];

/** What the reader looks for; names have room for more. */
const MOST_PARTS = 10_000;

/** More than a part's own header, padding included, takes beyond keys and tensors that a single file has too. */
export const PART_BYTES = serializeGguf(new Map(splitFields(0, 1, 0)), []).bytes.length + 2 * ALIGNMENT;

/**
 * The same as several files, none larger than `limit`, tensors in their order; the first has all keys. One file where all
 * fits into it.
 * @throws LqError 'usage' for a tensor, or keys, that alone take more.
 */
export function serializeGgufParts(
  fields: ReadonlyMap<string, GgufField>,
  tensors: readonly GgufTensorSpec[],
  limit: number,
): SerializedGguf[] {
  const whole = serializeGguf(fields, tensors);
  if (whole.fileBytes <= limit) return [whole];
  const groups: GgufTensorSpec[][] = [[]];
  const keys = serializeGguf(fields, []).bytes.length;
  let bytes = keys + PART_BYTES;
  for (const tensor of tensors) {
    const own = infoBytes(tensor) + padded(ggufTensorBytes(tensor));
    if (bytes + own > limit) {
      groups.push([]);
      bytes = PART_BYTES;
    }
    bytes += own;
    if (bytes > limit)
      throw new LqError(
        'usage',
        `Parts of ${limit} bytes are too small: ${quoteName(tensor.name)} takes ${own}, and cannot be split.`,
        { tensor: tensor.name },
      );
    groups.at(-1)!.push(tensor);
  }
  if (keys + PART_BYTES > limit)
    throw new LqError(
      'usage',
      `Parts of ${limit} bytes are too small: keys and tokenizer, in the first, take ${keys}.`,
    );
  if (groups.length > MOST_PARTS)
    throw new LqError('usage', `Parts of ${limit} bytes would be ${groups.length}; at most ${MOST_PARTS} are read.`);
  return groups.map((group, i) => {
    const own = new Map([...(i === 0 ? fields : []), ...splitFields(i, groups.length, tensors.length)]);
    return serializeGguf(own, group);
  });
}

/** Bytes of what a header says of a tensor. */
const infoBytes = ({ name, shape }: GgufTensorSpec): number =>
  8 + new TextEncoder().encode(name).length + 4 + 8 * shape.length + 4 + 8;
