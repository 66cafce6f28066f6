import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { LqError } from '../../extension/core/errors';
import { headerLength, parseHeader, type SafetensorsHeader } from '../../extension/core/checkpoint/safetensors';
import { anyFile } from '../unit/checkpoint/hostile';
import { rawFile } from '../unit/checkpoint/containers';

const python = fileURLToPath(new URL('../../.deps/venv/bin/python', import.meta.url));
const script = fileURLToPath(new URL('safetensors_verdicts.py', import.meta.url));

type Verdict = Record<string, [dtype: string, shape: number[], bytes: number]> | null;

function reference(files: readonly Uint8Array[]): Verdict[] {
  const input = Buffer.concat(
    files.flatMap(file => {
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(file.length));
      return [length, file];
    }),
  );
  const { status, stdout, stderr } = spawnSync(python, [script], { input, encoding: 'utf8', maxBuffer: 1 << 28 });
  expect(stderr).toBe('');
  expect(status).toBe(0);
  return stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as Verdict);
}

function ours(file: Uint8Array): SafetensorsHeader | LqError {
  try {
    return parseHeader(file.subarray(8, 8 + headerLength(file, file.length, 'f')), file.length, 'f');
  } catch (error) {
    if (error instanceof LqError) return error;
    throw error;
  }
}

/**
 * Where this parser is stricter on purpose: names given twice, of which the reference silently drops one, and dimensions
 * that are no exact number here.
 */
const STRICTER = /appears twice|is beyond 2\^53/;

function compare(files: readonly Uint8Array[]): { accepted: number; refused: number; stricter: number } {
  const counts = { accepted: 0, refused: 0, stricter: 0 };
  const verdicts = reference(files);
  files.forEach((file, i) => {
    const header = ours(file);
    const verdict = verdicts[i] ?? null;
    const text = Buffer.from(file).toString('latin1');
    if (header instanceof LqError) {
      if (verdict === null) counts.refused++;
      else {
        expect(header.message, `refused, the reference accepts: ${text}`).toMatch(STRICTER);
        counts.stricter++;
      }
      return;
    }
    expect(verdict, `accepted, the reference refuses: ${text}`).not.toBeNull();
    counts.accepted++;
    const tensors = header.tensors.map(({ name, dtype, shape, bytes }) => [name, [dtype, shape, bytes]] as const);
    expect(Object.fromEntries(tensors)).toEqual(verdict);
  });
  return counts;
}

it('accepts and refuses generated files as the reference does', () => {
  const counts = compare(fc.sample(anyFile, { numRuns: 20_000, seed: 1 }));
  expect(counts.accepted).toBeGreaterThan(2000);
  expect(counts.refused).toBeGreaterThan(2000);
  expect(counts.stricter).toBeLessThan(400);
});

it('agrees on the edges of every field', () => {
  const shapes = [
    '[]',
    '[0]',
    '[1]',
    '[2,0]',
    '[4294967296,4294967296]',
    '[4294967296,4294967296,0]',
    '[0,4294967296,4294967296]',
  ];
  const dtypes = [
    'F32',
    'F4',
    'F6_E2M3',
    'F6_E3M2',
    'F8_E8M0',
    'BOOL',
    'C64',
    'U64',
    'F8_E4M3',
    'F8_E5M2',
    'BF16',
    'f32',
  ];
  const ranges = [
    '[0,0]',
    '[0,1]',
    '[0,4]',
    '[0,8]',
    '[4,8]',
    '[8,4]',
    '[0,18446744073709551615]',
    '[0,18446744073709551616]',
  ];
  const files = shapes.flatMap(shape =>
    dtypes.flatMap(dtype =>
      ranges.flatMap(range =>
        [0, 1, 4, 8].map(dataBytes =>
          rawFile(`{"x":{"dtype":"${dtype}","shape":${shape},"data_offsets":${range}}}`, dataBytes),
        ),
      ),
    ),
  );
  const lengths = [0n, 1n, 2n, 3n, 100_000_000n, 100_000_001n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];
  files.push(...lengths.map(length => rawFile('{}', 0, length)), ...[0, 1, 7, 8].map(size => new Uint8Array(size)));
  expect(compare(files).stricter).toBe(0);
});
