/** GGUF with the weights in a float type, for llama.cpp, Ollama and LM Studio. Small files are `compress --for gguf`. */
import type { CheckpointIndex } from '../../checkpoint/types';
import { LqError } from '../../errors';
import type { FloatType } from '../../requests/requests';
import type { Exporter } from '../exporter';
import { ggufModel, type TypeName } from './layout';
import { codeBlocks } from '../readme';
import { loadLines, writeGguf } from './write';

export const FLOAT_TYPES: Readonly<Record<FloatType, TypeName>> = { bf16: 'BF16', fp16: 'F16', fp32: 'F32' };

export const gguf: Exporter = {
  id: 'gguf',
  label: 'GGUF',
  description: 'One file for llama.cpp, Ollama and LM Studio, weights in the float type of the original.',
  dtypes: true,
  splits: true,
  accepts: index => index.gguf === undefined && index.config !== undefined,
  async run({ pipeline, index, out, overwrite, dtype, splitSize }) {
    if (index.gguf) throw new LqError('usage', `${index.label} is a GGUF file already.`, { file: index.file });
    const model = await ggufModel(pipeline.files, index);
    const type = dtype === undefined ? floatType(index) : FLOAT_TYPES[dtype];
    const types = new Map(model.weights.map(({ name }) => [name, type] as const));
    for (const note of model.notes) pipeline.log('warning', note);
    const parts = model.layout(types, splitSize).files.length;
    const readme = ggufReadme(index.label, parts, `All matrices are ${type}, vectors F32.`);
    return writeGguf(pipeline, {
      ...{ model, types, out, overwrite, readme, fingerprint: 'float' },
      ...(splitSize !== undefined && { splitSize }),
    });
  },
};

/** The type that most elements of the source are stored as; packed weights were made from one of these. */
export function floatType(index: CheckpointIndex): TypeName {
  const bytes = new Map<TypeName, number>();
  for (const { dtype, bytes: own } of index.tensors)
    if (dtype === 'BF16' || dtype === 'F16' || dtype === 'F32') bytes.set(dtype, (bytes.get(dtype) ?? 0) + own);
  return [...bytes].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 'F32';
}

export function ggufReadme(label: string, parts: number, what: string): string {
  return [
    `# ${label}, GGUF`,
    '',
    `Written by LQ Studio from ${label}. ${what}`,
    '',
    ...codeBlocks(loadLines(label, parts)),
  ].join('\n');
}
