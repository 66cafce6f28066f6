import { logicalName } from '../../checkpoint/gguf/names';
import type { Recogniser } from './recogniser';

const [A, B] = ['.lora_a', '.lora_b'];

/**
 * Tensors of a GGUF file: one part each. Those of known architectures get the names they have in transformers, so that a file
 * is compared with the checkpoint it was made from. Pairs of an adapter's factors are the updates they are.
 */
export const recogniseGguf: Recogniser = (tensor, source) => {
  if (!source.gguf) return undefined;
  const architecture = source.gguf.get('general.architecture');
  const updated =
    source.gguf.get('general.type') === 'adapter' && tensor.name.endsWith(A) && tensor.name.slice(0, -A.length);
  const b = updated ? source.byName.get(updated + B) : undefined;
  const [rank, cols] = tensor.shape;
  if (!updated || b?.shape.length !== 2 || tensor.shape.length !== 2 || b.shape[1] !== rank) {
    const name = logicalName(architecture, tensor.name);
    // Matrices are [out, in], whatever the architecture's are in transformers.
    return { name, shape: tensor.shape, dtype: tensor.dtype, format: 'gguf', transposed: false, parts: [tensor] };
  }
  const rows = b.shape[0]!;
  return {
    name: logicalName(architecture, updated),
    shape: [rows, cols!],
    dtype: `LoRA r${rank}`,
    format: 'lora',
    rank: rank!,
    parameters: rank! * (rows + cols!),
    parts: [tensor, b],
  };
};
