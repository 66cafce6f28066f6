import { adapterSummary, type AdapterSummary } from '../logical/formats/lora';
import { logicalTensors } from '../logical/logical';
import type { CheckpointIndex, CheckpointProblem } from '../checkpoint/types';
import type { WeightRow } from './types';

/** What `inspect` prints with `--json`: the stored tensors, the logical weights they make up, and the totals. */
export interface InspectReport {
  path: string;
  label: string;
  /** As stored, in natural order. */
  tensors: { name: string; dtype: string; shape: number[]; bytes: number; file: string }[];
  /** Of the logical weights. */
  parameters: number;
  /** Of all tensors. */
  bytes: number;
  /** 8 * bytes / parameters, scales and every other part counted. */
  bitsPerWeight: number;
  layers: (WeightRow & {
    /** Names of the stored tensors. */
    parts: string[];
  })[];
  /** Of a LoRA adapter. */
  adapter?: AdapterSummary;
  shards: { file: string; bytes: number; tensors: number; missing: boolean; metadata: Record<string, string> }[];
  problems: CheckpointProblem[];
}

export function inspectReport(index: CheckpointIndex): InspectReport {
  const { path, label, parameters, bytes } = index;
  const logical = logicalTensors(index);
  const adapter = adapterSummary(index, logical);
  return {
    path,
    label,
    tensors: index.tensors.map(({ name, dtype, shape, bytes, file }) => ({
      name,
      dtype,
      shape: [...shape],
      bytes,
      file,
    })),
    parameters,
    bytes,
    bitsPerWeight: parameters > 0 ? (8 * bytes) / parameters : 0,
    layers: logical.map(({ transposed: _, ...tensor }) => ({
      ...tensor,
      shape: [...tensor.shape],
      parts: tensor.parts.map(({ name }) => name),
    })),
    ...(adapter && { adapter }),
    shards: index.shards.map(({ file, bytes, tensors, metadata, missing }) => ({
      file,
      bytes,
      tensors,
      missing: missing ?? false,
      metadata: { ...metadata },
    })),
    problems: [...index.problems],
  };
}
