import { logicalName } from '../../checkpoint/gguf/names';
import type { Recogniser } from './recogniser';

/**
 * Tensors of a GGUF file: one part each. Those of the llama family get the names they have in transformers, so that a file
 * is compared with the checkpoint it was made from.
 */
export const recogniseGguf: Recogniser = (tensor, source) => {
  if (!source.gguf) return undefined;
  const name = logicalName(source.gguf.get('general.architecture'), tensor.name);
  return { name, shape: tensor.shape, dtype: tensor.dtype, format: 'gguf', parts: [tensor] };
};
