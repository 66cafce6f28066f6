/** Checkpoints that are awkward on purpose, written where a test needs them. */
import { closeSync, mkdirSync, openSync, ftruncateSync, writeSync } from 'node:fs';
import path from 'node:path';
import { serializeHeader, type TensorSpec } from '../../extension/core/checkpoint/serialize';

/** Writes a safetensors file of zeros; the data is a hole in the file and takes no disk. */
export function writeZeros(file: string, tensors: TensorSpec[], metadata: Record<string, string> = {}): void {
  const header = serializeHeader(tensors, metadata);
  mkdirSync(path.dirname(file), { recursive: true });
  const handle = openSync(file, 'w');
  try {
    writeSync(handle, header.bytes);
    ftruncateSync(handle, header.fileBytes);
  } finally {
    closeSync(handle);
  }
}

/** A name that would be markup, a link, a command and a path if anything took it for more than text. */
export const hostileName =
  `</script><img src=x onerror="document.title='owned'"><b>[x](command:workbench.action.quit)</b>\u202e$(alert)../../` +
  'A'.repeat(9_900);

export const hostileMetadata = {
  format: 'pt',
  description: `<script>document.title='owned'</script><iframe src="javascript:parent.document.title='owned'"></iframe>`,
  '<img src=x onerror=alert(1)>': 'x',
};

export function writeHostile(file: string): void {
  const tensors: TensorSpec[] = [
    { name: hostileName, dtype: 'F32', shape: [4, 4] },
    { name: 'ordinary.weight', dtype: 'F32', shape: [4, 4] },
  ];
  writeZeros(file, tensors, hostileMetadata);
}

/** A mixture of experts with about `count` matrices of 8 x 8: as many names as the largest checkpoints have. */
export function writeManyTensors(file: string, count: number): void {
  const tensors: TensorSpec[] = [{ name: 'model.embed_tokens.weight', dtype: 'BF16', shape: [16, 8] }];
  const layers = 32;
  for (let i = 0; tensors.length < count; i++) {
    const [layer, expert] = [i % layers, Math.floor(i / layers)];
    for (const matrix of ['gate_proj', 'up_proj', 'down_proj']) {
      const name = `model.layers.${layer}.mlp.experts.${expert}.${matrix}.weight`;
      if (tensors.length < count) tensors.push({ name, dtype: 'BF16', shape: [8, 8] });
    }
  }
  writeZeros(file, tensors);
}
