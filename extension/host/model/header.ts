import { selectTargets } from '../../core/logical/targets';
import type { CheckpointIndex, LogicalTensor } from '../../core/checkpoint/types';
import type { ModelHeader, TargetMatrix, TensorRow } from '../../protocol/panels';

/** The strip at the top of a panel. */
export function modelHeader(
  path: string,
  index: CheckpointIndex,
  tensors: readonly LogicalTensor[],
): Omit<ModelHeader, 'version'> {
  const parameters = tensors.reduce((sum, tensor) => sum + tensor.parameters, 0);
  const architectures = index.config?.['architectures'];
  const architecture: unknown = Array.isArray(architectures) ? architectures[0] : undefined;
  return {
    path,
    label: index.label,
    ...(typeof architecture === 'string' && { architecture }),
    parameters,
    dtype: dtypeLabel(tensors),
    bytes: index.bytes,
    bitsPerWeight: parameters > 0 ? (8 * tensors.reduce((sum, tensor) => sum + tensor.bytes, 0)) / parameters : 0,
    files: index.shards.length,
    tensors: tensors.length,
    compressed: tensors.some(tensor => tensor.format === 'lq'),
  };
}

/** The types most parameters are of, at most two, such as `BF16` or `NF3 + BF16`. */
export function dtypeLabel(tensors: readonly LogicalTensor[]): string {
  const parameters = new Map<string, number>();
  for (const tensor of tensors) {
    // Our own weights differ in configuration from matrix to matrix; together they are one kind.
    const label = tensor.format === 'lq' ? 'LQ' : tensor.dtype;
    parameters.set(label, (parameters.get(label) ?? 0) + tensor.parameters);
  }
  const total = tensors.reduce((sum, tensor) => sum + tensor.parameters, 0);
  const labels = [...parameters].sort((a, b) => b[1] - a[1]);
  const shown = labels.filter(([, count], i) => i === 0 || count >= 0.01 * total).slice(0, 2);
  return shown.map(([label]) => label).join(' + ') || 'empty';
}

export function tensorRow(tensor: LogicalTensor, files: ReadonlyMap<string, number>): TensorRow {
  return {
    name: tensor.name,
    shape: [...tensor.shape],
    dtype: tensor.dtype,
    format: tensor.format,
    role: tensor.role,
    layer: tensor.layer,
    parameters: tensor.parameters,
    bytes: tensor.bytes,
    bitsPerWeight: tensor.bitsPerWeight,
    file: files.get(tensor.parts[0]?.file ?? '') ?? 0,
    ...((tensor.parts.length > 1 || tensor.parts[0]?.name !== tensor.name) && {
      parts: tensor.parts.map(part => ({
        name: part.name,
        dtype: part.dtype,
        shape: [...part.shape],
        bytes: part.bytes,
      })),
    }),
  };
}

/** The matrices a compression takes: those the globs select, unless told otherwise the blocks' linear weights. */
export function targetMatrices(
  tensors: readonly LogicalTensor[],
  include?: readonly string[],
  exclude?: readonly string[],
): TargetMatrix[] {
  return selectTargets(tensors, include, exclude).map(targetMatrix);
}

function targetMatrix({ name, role, layer, shape }: LogicalTensor): TargetMatrix {
  return { name, role, layer, shape: [shape[0]!, shape[1]!] };
}
