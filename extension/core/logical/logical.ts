/** From stored tensors to the weights a model has: packed formats are put together, dense tensors stand for themselves. */
import { dtypeBits, elementCount, isDtype } from '../dtypes';
import { loha, lokr, otherAdapters, vera } from './formats/adapters';
import { bitsandbytes4, bitsandbytes8 } from './formats/bitsandbytes';
import { aqlm, quip, vptq } from './formats/codebooks';
import { packedTensors, sparse } from './formats/compressed-tensors';
import { eetq } from './formats/eetq';
import { exl2, exl3 } from './formats/exllama';
import { recogniseGguf } from './formats/gguf';
import { gptqAndAwq, marlin } from './formats/gptq-awq';
import { hqq } from './formats/hqq';
import { lora } from './formats/lora';
import { recogniseLq } from './formats/lq';
import { mlx } from './formats/mlx';
import { mxfp4 } from './formats/mxfp4';
import { nunchaku } from './formats/nunchaku';
import { quanto } from './formats/quanto';
import { scaled } from './formats/scaled';
import { torchao } from './formats/torchao';
import type { Format, FormatSource, PackedWeight } from './formats/recogniser';
import { expertsApart } from '../checkpoint/gguf/names';
import { compareNatural } from '../checkpoint/order';
import { placeOf } from '../checkpoint/roles';
import type { LogicalTensor, TensorInfo } from '../checkpoint/types';

/** In the order in which they are asked; the first that knows a tensor has it. */
const FORMATS: readonly Format[] = [
  { endings: [], recognise: recogniseGguf },
  { endings: ['codes', 'l1'], recognise: recogniseLq },
  gptqAndAwq,
  marlin,
  bitsandbytes4,
  bitsandbytes8,
  packedTensors,
  sparse,
  scaled,
  mxfp4,
  mlx,
  exl2,
  exl3,
  hqq,
  quanto,
  aqlm,
  vptq,
  quip,
  eetq,
  nunchaku,
  torchao,
  loha,
  lokr,
  vera,
  otherAdapters,
  lora,
];
/** Formats by the endings that give them away; those without are asked about every name. */
const BY_ENDING: ReadonlyMap<string, readonly Format[]> = byEnding();
const ANY_NAME = FORMATS.filter(({ endings }) => endings.length === 0);

function byEnding(): Map<string, Format[]> {
  const map = new Map<string, Format[]>();
  for (const format of FORMATS) {
    for (const ending of format.endings) map.set(ending, [...(map.get(ending) ?? []), format]);
  }
  return map;
}

/**
 * The logical weights of a checkpoint in natural order of their names, which are unique. Every stored tensor, or expert of one
 * of a GGUF file, is part of exactly one. `parameters` are those of the model (for LoRA, of the adapter), `bytes` includes scales and all other parts.
 */
export function logicalTensors(source: FormatSource): LogicalTensor[] {
  const conv1d = conv1dNames(source);
  const transposes = ({ name, shape }: PackedWeight): boolean =>
    shape.length === 2 ? conv1d(name) : shape.length === 3 && transposedExperts(name, source);
  const claimed = new Set<TensorInfo>();
  const names = new Set<string>();
  const logical: LogicalTensor[] = [];
  const add = (weight: PackedWeight): void => {
    names.add(weight.name);
    logical.push(describe(weight, transposes));
  };
  const tensors = source.gguf ? expertsApart(source.tensors, source.gguf) : source.tensors;
  for (const tensor of tensors) {
    const packed = recognise(tensor, source);
    if (!packed || packed.parts.some(part => claimed.has(part))) continue;
    // A file may hold both a packed weight and a dense tensor of the same name; then neither is hidden.
    const stored = source.byName.get(packed.name);
    if (names.has(packed.name) || (stored && !packed.parts.includes(stored))) continue;
    for (const part of packed.parts) claimed.add(part);
    add(packed);
  }
  for (const tensor of tensors) {
    if (claimed.has(tensor)) continue;
    add({ name: tensor.name, shape: tensor.shape, dtype: tensor.dtype, format: 'dense', parts: [tensor] });
  }
  return logical.sort((a, b) => compareNatural(a.name, b.name));
}

function recognise(tensor: TensorInfo, source: FormatSource): PackedWeight | undefined {
  const { name } = tensor;
  const last = name.slice(name.lastIndexOf('.') + 1);
  const underscore = last.lastIndexOf('_');
  const asked = [
    ...(BY_ENDING.get(last) ?? []),
    ...(underscore > 0 ? (BY_ENDING.get(last.slice(underscore)) ?? []) : []),
    ...ANY_NAME,
  ];
  for (const format of asked) {
    const packed = format.recognise(tensor, source);
    if (packed) return packed;
  }
  return undefined;
}

function describe(weight: PackedWeight, transposes: (weight: PackedWeight) => boolean): LogicalTensor {
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
    // A target's tensor has the shape of its matrix already.
    transposed: weight.transposed ?? (weight.parts[0]?.transposed !== true && transposes(weight)),
    ...(weight.rank !== undefined && { rank: weight.rank }),
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

const FUSED_EXPERTS = /^(.*\.experts\.)(?:gate_up_proj|down_proj)$/;

/**
 * Whether experts that are stored together are [in, out] each, as in gpt-oss and Llama 4: gate and up then read as many columns
 * as down gives, [in, 2·inner] and [inner, out]; else they are [2·inner, in] and [out, inner].
 */
function transposedExperts(name: string, { byName }: FormatSource): boolean {
  const prefix = FUSED_EXPERTS.exec(name)?.[1];
  const gateUp = byName.get(`${prefix}gate_up_proj`)?.shape ?? [];
  const down = byName.get(`${prefix}down_proj`)?.shape ?? [];
  return gateUp.length === 3 && down.length === 3 && gateUp[2] === 2 * down[1]! && gateUp[1] === down[2];
}
