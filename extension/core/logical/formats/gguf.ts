import { LLAMA_LIKE, modelName } from '../../checkpoint/gguf/names';
import type { Recogniser } from './recogniser';

/**
 * Tensors of a GGUF file: one part each. Those of the llama family get the names they have in transformers, so that a file
 * is compared with the checkpoint it was made from.
 */
export const recogniseGguf: Recogniser = (tensor, source) => {
  if (!source.gguf) return undefined;
  const mapped = LLAMA_LIKE.has(source.gguf.get('general.architecture')) ? modelName(tensor.name) : undefined;
  return { name: mapped ?? tensor.name, shape: tensor.shape, dtype: tensor.dtype, format: 'gguf', parts: [tensor] };
};
