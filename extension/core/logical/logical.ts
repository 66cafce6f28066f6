/** From stored tensors to the weights a model has: packed formats are put together, dense tensors stand for themselves. */
import { dtypeBits, elementCount, isDtype } from '../dtypes';
import { recogniseBitsandbytes4, recogniseBitsandbytes8 } from './formats/bitsandbytes';
import { recogniseFp8, recogniseMxfp4 } from './formats/block-scaled';
import { recognisePackedTensors, recogniseScaledTensors } from './formats/compressed-tensors';
import { recogniseGguf } from './formats/gguf';
import { recogniseGptqOrAwq } from './formats/gptq-awq';
import { recogniseLora } from './formats/lora';
import { recogniseLq } from './formats/lq';
import type { FormatSource, PackedWeight, Recogniser } from './formats/recogniser';
import { compareNatural } from '../checkpoint/order';
import { placeOf } from '../checkpoint/roles';
import type { LogicalTensor, TensorInfo } from '../checkpoint/types';

const RECOGNISERS: readonly Recogniser[] = [
  recogniseGguf,
  recogniseLq,
  recogniseGptqOrAwq,
  recogniseBitsandbytes4,
  recogniseBitsandbytes8,
  recognisePackedTensors,
  recogniseFp8,
  recogniseScaledTensors,
  recogniseMxfp4,
  recogniseLora,
];

/**
 * The logical weights of a checkpoint in natural order of their names, which are unique. Every stored tensor is part of
 * exactly one. `parameters` are those of the model (for LoRA, of the adapter), `bytes` includes scales and all other parts.
 */
export function logicalTensors(source: FormatSource): LogicalTensor[] {
  const transposes = conv1dNames(source);
  const claimed = new Set<TensorInfo>();
  const names = new Set<string>();
  const logical: LogicalTensor[] = [];
  const add = (weight: PackedWeight): void => {
    names.add(weight.name);
    logical.push(describe(weight, transposes));
  };
  for (const tensor of source.tensors) {
    const packed = recognise(tensor, source);
    if (!packed || packed.parts.some(part => claimed.has(part))) continue;
    // A file may hold both a packed weight and a dense tensor of the same name; then neither is hidden.
    const stored = source.byName.get(packed.name);
    if (names.has(packed.name) || (stored && !packed.parts.includes(stored))) continue;
    for (const part of packed.parts) claimed.add(part);
    add(packed);
  }
  for (const tensor of source.tensors) {
    if (claimed.has(tensor)) continue;
    add({ name: tensor.name, shape: tensor.shape, dtype: tensor.dtype, format: 'dense', parts: [tensor] });
  }
  return logical.sort((a, b) => compareNatural(a.name, b.name));
}

function recognise(tensor: TensorInfo, source: FormatSource): PackedWeight | undefined {
  for (const recogniser of RECOGNISERS) {
    const packed = recogniser(tensor, source);
    if (packed) return packed;
  }
  return undefined;
}

function describe(weight: PackedWeight, transposes: (name: string) => boolean): LogicalTensor {
  const parameters = weight.parameters ?? elementCount(weight.shape);
  const bytes = weight.parts.reduce((sum, part) => sum + part.bytes, 0);
  const dense = weight.format === 'dense' ? weight.parts[0] : undefined;
  return {
    name: weight.name,
    shape: weight.shape,
    dtype: weight.dtype,
    format: weight.format,
    parameters,
    bytes,
    // An empty dense tensor still has the bits of its type.
    bitsPerWeight:
      dense && isDtype(dense.dtype) ? dtypeBits(dense.dtype) : parameters > 0 ? (8 * bytes) / parameters : 0,
    ...placeOf(weight.name),
    transposed: weight.shape.length === 2 && transposes(weight.name),
    parts: weight.parts,
  };
}

/** Architectures of transformers whose linear layers are Conv1D and store [in, out]. */
const CONV1D_MODELS: ReadonlySet<unknown> = new Set(['gpt2', 'openai-gpt', 'imagegpt', 'decision_transformer', 'clvp']);
const CONV1D_MODULE = /(?:^|\.)(?:c_attn|c_proj|c_fc|q_attn)\.weight$/;

/** Which names store [in, out]: by the configuration, or without one by the shape of a fused q, k, v [in, 3·in]. */
function conv1dNames(source: FormatSource): (name: string) => boolean {
  const type = source.config?.model_type;
  const conv1d =
    type !== undefined
      ? CONV1D_MODELS.has(type)
      : source.tensors.some(({ name, shape }) => /\bc_attn\.weight$/.test(name) && shape[1] === 3 * (shape[0] ?? 0));
  return conv1d ? name => CONV1D_MODULE.test(name) : () => false;
}
