/** What `compress` writes for each consumer: a target in the folder of its format, and a line here. */
import { LqError } from '../errors';
import { consumers, type ConsumerId } from '../options/consumers';
import type { CompressRequest } from '../requests/requests';
import { bitsandbytesTarget } from './bitsandbytes/target';
import { compressedTensorsTarget } from './compressed-tensors/target';
import { denseTarget } from './dense/target';
import { exl3Target } from './exl3/target';
import { ggufTarget } from './gguf/target';
import { mlxTarget } from './mlx/target';
import { packedTarget } from './packed/target';
import type { Target } from './target';

const targets: Readonly<Record<ConsumerId, Target>> = {
  packed: packedTarget,
  'compressed-tensors': compressedTensorsTarget,
  gguf: ggufTarget,
  exl3: exl3Target,
  mlx: mlxTarget,
  bitsandbytes: bitsandbytesTarget,
};

/** The target of a request. @throws LqError 'usage' for a format beside one that a consumer reads alone, or parts of another than GGUF. */
export function targetOf({
  for: consumer = 'packed',
  format,
  splitSize,
}: Pick<CompressRequest, 'for' | 'format' | 'splitSize'>): Target {
  if (splitSize !== undefined && consumer !== 'gguf')
    throw new LqError('usage', 'Only GGUF files are split by size: leave out --split-size.');
  if (consumer !== 'packed' && format !== undefined)
    throw new LqError('usage', `${consumers[consumer].label} has no other format; leave out --format ${format}.`);
  return format === 'dense' ? denseTarget : targets[consumer];
}
