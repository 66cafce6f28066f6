/** MXFP4 as gpt-oss stores its experts: blocks of 32 weights along a row, and a tensor of their exponents. */
import type { LogicalTensor } from '../checkpoint/types';
import type { ByteRange, Mxfp4Source } from '../native';

const BLOCK_BYTES = 16;
const BLOCK_WEIGHTS = 2 * BLOCK_BYTES;

/**
 * The weight, with all dimensions but the last as rows, or undefined for one that is stored otherwise.
 * @param at a number of its first dimension, whose matrix alone is meant
 */
export function mxBlocks({ format, shape, parts }: LogicalTensor, at?: number): Mxfp4Source | undefined {
  const [blocks, scales] = parts;
  if (format !== 'mxfp4' || blocks?.shape.at(-1) !== BLOCK_BYTES || scales === undefined) return undefined;
  if (at !== undefined && (shape.length < 3 || at >= shape[0]!)) return undefined;
  const within = at === undefined ? shape : shape.slice(1);
  const cols = within.at(-1)!;
  const rows = within.slice(0, -1).reduce((product, size) => product * size, 1);
  const range = ({ file, offset }: (typeof parts)[number], bytes: number): ByteRange => ({
    path: file,
    offset: offset + (at ?? 0) * bytes,
    bytes,
  });
  const weights = rows * cols;
  return {
    kind: 'mxfp4',
    rows,
    cols,
    blocks: range(blocks, weights / 2),
    scales: range(scales, weights / BLOCK_WEIGHTS),
  };
}
