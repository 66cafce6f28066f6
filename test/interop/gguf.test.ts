/** GGUF files of other programs: the `gguf` package's values of every block type, bit for bit. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { logicalName } from '../../extension/core/checkpoint/gguf/names';
import { weightLookup } from '../../extension/core/logical/lookup';
import { openCheckpoint } from '../../extension/core/logical/open';
import { loadNative } from '../../extension/engine/load';
import { nodeFiles } from '../../extension/node/files';

const root = fileURLToPath(new URL('../..', import.meta.url));
const python = path.join(root, '.deps', 'venv', 'bin', 'python');
const folder = mkdtempSync(path.join(tmpdir(), 'lq-gguf-'));
afterAll(() => rmSync(folder, { recursive: true }));

it('values of every block type are those of the gguf package, to the bit', async () => {
  const script = path.join(root, 'test', 'interop', 'gguf_values.py');
  const listed = JSON.parse(execFileSync(python, [script, folder], { encoding: 'utf8' })) as [
    name: string,
    type: string,
    rows: number,
    cols: number,
  ][];
  const index = await openCheckpoint(nodeFiles, path.join(folder, 'values.gguf'));
  expect(index.problems).toEqual([]);
  expect(index.tensors).toHaveLength(listed.length);
  const lookup = weightLookup(index);
  const native = loadNative(path.join(root, 'dist', 'native'));
  for (const [name, type, rows, cols] of listed) {
    const source = lookup(logicalName('llama', name))!;
    expect([source.rows, source.cols], name).toEqual([rows, cols]);
    // A picture with a cell for every weight is the weights.
    const { mean } = await native.preview('cpu', source, rows, cols, {});
    const bytes = readFileSync(path.join(folder, `${name}.f32`));
    const expected = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    const different = mean.findIndex((value, i) => !Object.is(value + 0, expected[i]! + 0));
    expect([type, different]).toEqual([type, -1]);
  }
});
