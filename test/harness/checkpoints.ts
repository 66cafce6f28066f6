/** Checkpoints that are awkward on purpose, written where a test needs them. */
import { closeSync, mkdirSync, openSync, ftruncateSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { serializeHeader, type TensorSpec } from '../../extension/core/checkpoint/serialize';

/** Writes a safetensors file of zeros; the data is a hole in the file and takes no disk. */
function writeZeros(file: string, tensors: TensorSpec[], metadata: Record<string, string> = {}): void {
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
const hostileName =
  `</script><img src=x onerror="document.title='owned'"><b>[x](command:workbench.action.quit)</b>\u202e$(alert)../../` +
  'A'.repeat(9_900);

const hostileMetadata = {
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

/**
 * A checkpoint of three shards with everything that a health check looks for: in the first two NaN, an Inf and a row of
 * zeros, the second with a header that is no JSON, the third missing.
 */
export function writeFaulty(folder: string): void {
  const size = 8;
  const named = (matrix: string): TensorSpec => ({
    name: `model.layers.0.self_attn.${matrix}_proj.weight`,
    dtype: 'F32',
    shape: [size, size],
  });
  const tensors = ['q', 'k', 'v', 'o'].map(named);
  const values = tensors.map((_, tensor) => Float32Array.from({ length: size * size }, (_, i) => Math.sin(i + tensor)));
  values[0]![5] = NaN;
  values[0]![6] = NaN;
  values[1]![9] = -Infinity;
  values[2]!.fill(0, size, 2 * size);
  const shard = (number: number) => `model-0000${number}-of-00003.safetensors`;
  mkdirSync(folder, { recursive: true });
  const data = values.map(each => Buffer.from(each.buffer));
  writeFileSync(path.join(folder, shard(1)), Buffer.concat([serializeHeader(tensors).bytes, ...data]));
  writeFileSync(path.join(folder, shard(2)), Buffer.from('\x10\0\0\0\0\0\0\0{"up.weight": no}'));
  const weightMap = {
    ...Object.fromEntries(tensors.map(({ name }) => [name, shard(1)])),
    'model.layers.0.mlp.up_proj.weight': shard(2),
    'model.layers.0.mlp.down_proj.weight': shard(3),
  };
  const index = { metadata: {}, weight_map: weightMap };
  writeFileSync(path.join(folder, 'model.safetensors.index.json'), JSON.stringify(index, null, 2));
}

/** A LoRA adapter of rank 4 for one matrix of 32 x 32, as peft writes it. */
export function writeAdapter(folder: string): void {
  const matrix = 'base_model.model.model.layers.0.self_attn.q_proj';
  writeZeros(path.join(folder, 'adapter_model.safetensors'), [
    { name: `${matrix}.lora_A.weight`, dtype: 'F32', shape: [4, 32] },
    { name: `${matrix}.lora_B.weight`, dtype: 'F32', shape: [32, 4] },
  ]);
  const config = { peft_type: 'LORA', r: 4, lora_alpha: 8, target_modules: ['q_proj'] };
  writeFileSync(path.join(folder, 'adapter_config.json'), JSON.stringify(config, null, 2));
}
