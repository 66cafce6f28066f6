import fc from 'fast-check';
import { expect, it } from 'vitest';
import { LqError } from '../../../extension/core/errors';
import { dtypeBits, type Dtype } from '../../../extension/core/dtypes';
import { headerLength, parseHeader, type SafetensorsHeader } from '../../../extension/core/checkpoint/safetensors';
import { serializeHeader } from '../../../extension/core/checkpoint/serialize';
import { parseShardIndex } from '../../../extension/core/checkpoint/shard-index';
import { anyFile, contents } from './hostile';

function parse(file: Uint8Array): SafetensorsHeader | LqError {
  try {
    const length = headerLength(file, file.length, 'f');
    return parseHeader(file.subarray(8, 8 + length), file.length, 'f');
  } catch (error) {
    // Anything else is a crash, and fails the property.
    if (error instanceof LqError) return error;
    throw error;
  }
}

it('what is written is read back', () => {
  fc.assert(
    fc.property(contents, ({ tensors, metadata }) => {
      const { bytes, fileBytes, tensors: places } = serializeHeader(tensors, metadata);
      const header = parseHeader(bytes.subarray(8), fileBytes, 'f');
      const sorted = (list: readonly { name: string }[]) => [...list].sort((a, b) => (a.name < b.name ? -1 : 1));
      expect(sorted(header.tensors)).toEqual(sorted(places.map(place => ({ ...place, file: 'f' }))));
      expect(header.metadata).toEqual(metadata);
    }),
    { numRuns: 500 },
  );
});

it('a file is refused with a typed error, or every byte of it is accounted for', () => {
  let accepted = 0;
  let refused = 0;
  fc.assert(
    fc.property(anyFile, file => {
      const header = parse(file);
      if (header instanceof LqError) {
        refused++;
        expect(header.file).toBe('f');
        return;
      }
      accepted++;
      // What JSON.parse, which is lenient, makes of the same header must agree.
      const text = new TextDecoder().decode(file.subarray(8, 8 + header.headerBytes));
      const { __metadata__: metadata, ...entries } = JSON.parse(text) as Record<string, Record<string, unknown>>;
      expect(header.metadata).toEqual(metadata ?? {});
      expect(header.tensors.map(({ name }) => name).sort()).toEqual(
        Object.getOwnPropertyNames(JSON.parse(text))
          .filter(name => name !== '__metadata__')
          .sort(),
      );
      let end = 8 + header.headerBytes;
      for (const { name, dtype, shape, offset, bytes } of header.tensors) {
        expect(offset).toBe(end);
        end += bytes;
        const bits = shape.reduce((product, size) => product * BigInt(size), BigInt(dtypeBits(dtype as Dtype)));
        expect(BigInt(bytes) * 8n).toBe(bits);
        if (name !== '__proto__') expect(entries[name]).toMatchObject({ dtype, shape });
      }
      expect(end).toBe(file.length);
    }),
    { numRuns: 5000 },
  );
  // Both kinds must be common, or the generators test nothing.
  expect(accepted).toBeGreaterThan(500);
  expect(refused).toBeGreaterThan(500);
});

it('an index of any text is refused with a typed error or maps names to contained files', () => {
  const json = fc.json().chain(map => fc.constantFrom(map, `{"weight_map":${map}}`, `{"weight_map":{"a":${map}}}`));
  fc.assert(
    fc.property(fc.oneof(json, fc.string(), fc.json()), text => {
      try {
        const index = parseShardIndex(text, '/m/i.json');
        expect(index.shards.every(shard => !shard.includes('..'))).toBe(true);
        expect(Object.fromEntries(index.weightMap)).toEqual((JSON.parse(text) as { weight_map: unknown }).weight_map);
      } catch (error) {
        if (!(error instanceof LqError)) throw error;
        expect(error.code).toBe('index-json');
      }
    }),
    { numRuns: 1000 },
  );
});
