import { logicalTensors } from '../logical/logical';
import type { CheckpointIndex } from '../checkpoint/types';
import { formatShape } from '../format';
import type { CompareReport } from './types';

/**
 * Two checkpoints by their logical weights, so that a packed one compares with the dense one it came from. Values are the
 * caller's to add; `tensors` are those both have in the same shape.
 */
export function compareStructure(a: CheckpointIndex, b: CheckpointIndex): CompareReport {
  const inA = logicalTensors(a);
  const inB = new Map(logicalTensors(b).map(tensor => [tensor.name, tensor]));
  const report: CompareReport = { a: a.path, b: b.path, onlyA: [], onlyB: [], reshaped: [], tensors: [] };
  for (const { name, shape, format } of inA) {
    const other = inB.get(name);
    inB.delete(name);
    if (!other) report.onlyA.push(name);
    else if (other.shape.join() !== shape.join()) {
      report.reshaped.push({ name, a: formatShape(shape), b: formatShape(other.shape) });
    } else report.tensors.push({ name, shape: [...shape], formatA: format, formatB: other.format });
  }
  report.onlyB.push(...inB.keys());
  return report;
}
