import { describe, expect, it } from 'vitest';
import { LqError } from '../../../extension/core/errors';
import {
  headerLength,
  MAX_HEADER_BYTES,
  parseHeader,
  readHeader,
} from '../../../extension/core/checkpoint/safetensors';
import { serializeHeader, serializeIndex } from '../../../extension/core/checkpoint/serialize';
import { MemoryFiles } from './memory-files';
import { f32, rawFile, validFile } from './containers';

const FILE = '/m/model.safetensors';

async function open(bytes: Uint8Array) {
  return readHeader(new MemoryFiles({ [FILE]: bytes }), FILE);
}

async function fault(bytes: Uint8Array): Promise<LqError> {
  return open(bytes).then(
    () => expect.fail('the file was accepted'),
    (error: unknown) => {
      expect(error).toBeInstanceOf(LqError);
      expect((error as LqError).file).toBe(FILE);
      return error as LqError;
    },
  );
}

const entry = (shape: string, offsets: string, dtype = 'F32', extra = ''): string =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}${extra}}`;

describe('a valid header', () => {
  it('gives tensors in the order of their bytes with absolute offsets', async () => {
    const header = await open(rawFile(`{"b":${entry('[2]', '[4,12]')},"a":${entry('[]', '[0,4]')}}   `, 12));
    const start = 8 + header.headerBytes;
    expect(header.tensors).toEqual([
      { name: 'a', dtype: 'F32', shape: [], file: FILE, offset: start, bytes: 4 },
      { name: 'b', dtype: 'F32', shape: [2], file: FILE, offset: start + 4, bytes: 8 },
    ]);
  });

  it('may be empty, hold empty tensors, metadata, null metadata, escapes and unknown fields', async () => {
    expect((await open(rawFile('{}'))).tensors).toEqual([]);
    expect(
      (await open(rawFile(`{"e":${entry('[0,5]', '[0,0]')},"f":${entry('[1]', '[0,4]')}}`, 4))).tensors,
    ).toHaveLength(2);
    expect((await open(rawFile('{"__metadata__":{"a":"\\u00e9\\ud83d\\ude00"}}'))).metadata).toEqual({ a: 'é😀' });
    expect((await open(rawFile('{"__metadata__":null}'))).metadata).toEqual({});
    const odd = await open(rawFile(`{"\\"x\\n":${entry('[1]', '[0,4]', 'F32', ',"more":[1,{"a":null}]')}}`, 4));
    expect(odd.tensors[0]!.name).toBe('"x\n');
  });

  it('may use every dtype, sub-byte ones in whole bytes', async () => {
    const bytes = { F4: 3, F6_E2M3: 6, F6_E3M2: 6, BOOL: 8, F8_E8M0: 8, BF16: 16, C64: 64, U64: 64 };
    for (const [dtype, size] of Object.entries(bytes)) {
      const shape = dtype === 'F4' ? '[2,3]' : '[8]';
      const header = await open(rawFile(`{"x":${entry(shape, `[0,${size}]`, dtype)}}`, size));
      expect(header.tensors[0]).toMatchObject({ dtype, bytes: size });
    }
  });

  it('keeps a tensor called __proto__', async () => {
    const header = await open(rawFile(`{"__proto__":${entry('[1]', '[0,4]')},"__metadata__":{"__proto__":"x"}}`, 4));
    expect(header.tensors[0]!.name).toBe('__proto__');
    expect(Object.entries(header.metadata)).toEqual([['__proto__', 'x']]);
  });

  it('reads a header longer than the first read, and nothing of the data', async () => {
    const tensors = Array.from({ length: 2000 }, (_, i) => f32(`layer.${i}.weight`, 16));
    const files = new MemoryFiles({ [FILE]: validFile(tensors) });
    const header = await readHeader(files, FILE);
    expect(header.tensors).toHaveLength(2000);
    expect(files.bytesRead).toBeLessThan(header.headerBytes + 8 + 65536);
  });
});

describe('the length is refused when', () => {
  it('the file is shorter than eight bytes', async () => {
    for (const size of [0, 1, 7]) expect((await fault(new Uint8Array(size))).code).toBe('header-too-small');
  });
  it('it is beyond the limit, up to 2^63 and 2^64-1', async () => {
    for (const length of [BigInt(MAX_HEADER_BYTES) + 1n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n]) {
      expect((await fault(rawFile('{}', 0, length))).code).toBe('header-too-large');
    }
    expect(() => headerLength(rawFile('', 0, BigInt(MAX_HEADER_BYTES)), MAX_HEADER_BYTES + 8, FILE)).not.toThrow();
  });
  it('it passes the end of the file', async () => {
    expect((await fault(rawFile('{}', 0, 3n))).code).toBe('header-length');
  });
});

describe('the JSON is refused when', () => {
  const cases: Record<string, string | Uint8Array> = {
    empty: '',
    'an array': '[]',
    'white space comes first': ' {}',
    'a byte order mark comes first': '\ufeff{}',
    'it is not UTF-8': new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
    'a surrogate is encoded': new Uint8Array([0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x3a, 0x31, 0x7d]),
    'it ends early': '{"a":',
    'more follows': '{}{}',
    'zero bytes pad it': '{}\0\0',
    'a comma trails': '{"__metadata__":{},}',
    'a key is bare': '{a:1}',
    'quotes are single': "{'a':1}",
    'a string has a control character': '{"a\n":1}',
    'an escape is unknown': '{"\\x":1}',
    'a surrogate is alone': '{"\\ud800":1}',
    'surrogates are reversed': '{"\\udc00\\ud800":1}',
    'a number starts with zero': `{"a":${entry('[01]', '[0,4]')}}`,
    'a skipped number is out of range': `{"a":${entry('[1]', '[0,4]', 'F32', ',"x":1e999')}}`,
    'nesting is absurd': `{"a":${entry('[1]', '[0,4]', 'F32', `,"x":${'['.repeat(500)}${']'.repeat(500)}`)}}`,
    'a million brackets open': `{"a":{"x":${'['.repeat(1_000_000)}`,
  };
  for (const [name, header] of Object.entries(cases)) {
    it(name, async () => expect((await fault(rawFile(header, 4))).code).toBe('header-json'));
  }
});

describe('an entry is refused, by name, when', () => {
  const cases: Record<string, [code: string, entry: string, dataBytes?: number]> = {
    'it is not an object': ['header-entry', '1'],
    'it is an array': ['header-entry', '["F32",[1],[0,4]]'],
    'dtype is missing': ['header-entry', '{"shape":[1],"data_offsets":[0,4]}'],
    'shape is missing': ['header-entry', '{"dtype":"F32","data_offsets":[0,4]}'],
    'data_offsets is missing': ['header-entry', '{"dtype":"F32","shape":[1]}'],
    'a field appears twice': ['header-entry', entry('[1]', '[0,4]', 'F32', ',"shape":[1]')],
    'dtype is a number': ['header-entry', '{"dtype":1,"shape":[1],"data_offsets":[0,4]}'],
    'dtype is unknown': ['unknown-dtype', entry('[1]', '[0,4]', 'F33')],
    'dtype is a property of Object': ['unknown-dtype', entry('[1]', '[0,4]', 'constructor')],
    'a dimension is negative': ['header-entry', entry('[-1]', '[0,4]')],
    'a dimension is a fraction': ['header-entry', entry('[1.0]', '[0,4]')],
    'a dimension has an exponent': ['header-entry', entry('[1e0]', '[0,4]')],
    'a dimension is a string': ['header-entry', entry('["1"]', '[0,4]')],
    'a dimension is null': ['header-entry', entry('[null]', '[0,4]')],
    'shape is a number': ['header-entry', entry('1', '[0,4]')],
    'there is one offset': ['header-entry', entry('[1]', '[0]')],
    'there are three offsets': ['header-entry', entry('[1]', '[0,4,8]')],
    'an offset is beyond 2^64': ['header-entry', entry('[1]', '[0,18446744073709551616]')],
    'the range runs backwards': ['tensor-size', entry('[1]', '[4,0]')],
    'the range is shorter than the shape': ['tensor-size', entry('[2]', '[0,4]')],
    'the range is longer than the shape': ['tensor-size', entry('[1]', '[0,8]'), 8],
    'a scalar has no bytes': ['tensor-size', entry('[]', '[0,0]'), 0],
    'a sub-byte shape ends inside a byte': ['tensor-size', entry('[3]', '[0,2]', 'F4'), 2],
    'six-bit elements end inside a byte': ['tensor-size', entry('[2]', '[0,2]', 'F6_E2M3'), 2],
    'the element count overflows': ['tensor-overflow', entry('[4294967296,4294967296]', '[0,4]')],
    'the count overflows before a zero': ['tensor-overflow', entry('[4294967296,4294967296,0]', '[0,0]'), 0],
    'the bit count overflows': ['tensor-overflow', entry('[9007199254740993,2000]', '[0,4]', 'F64')],
    'a dimension is not exact': ['tensor-overflow', entry('[0,9007199254740993]', '[0,0]'), 0],
    'its bytes start late': ['tensor-hole', entry('[1]', '[4,8]'), 8],
  };
  for (const [name, [code, text, dataBytes]] of Object.entries(cases)) {
    it(name, async () => {
      const error = await fault(rawFile(`{"bad":${text}}`, dataBytes ?? 4));
      expect([error.code, error.tensor]).toEqual([code, 'bad']);
      expect(error.message).toContain('"bad"');
    });
  }

  it('2^53 differs by one from its range', async () => {
    const header = `{"bad":${entry('[9007199254740993]', '[0,9007199254740992]', 'U8')}}`;
    expect((await fault(rawFile(header, 0))).code).toBe('tensor-size');
  });
  it('it appears twice', async () => {
    const error = await fault(rawFile(`{"a":${entry('[1]', '[0,4]')},"a":${entry('[1]', '[0,4]')}}`, 4));
    expect([error.code, error.tensor]).toEqual(['duplicate-tensor', 'a']);
  });
  it('it overlaps, partly or wholly', async () => {
    for (const [x, y] of [
      ['[0,8]', '[4,12]'],
      ['[0,8]', '[0,8]'],
    ] as const) {
      const error = await fault(rawFile(`{"a":${entry('[2]', x)},"b":${entry('[2]', y)}}`, 12));
      expect([error.code, error.tensor]).toEqual(['tensor-overlap', 'b']);
    }
  });
  it('bytes between two are unused', async () => {
    const error = await fault(rawFile(`{"a":${entry('[1]', '[0,4]')},"b":${entry('[1]', '[8,12]')}}`, 12));
    expect([error.code, error.tensor]).toEqual(['tensor-hole', 'b']);
  });
  it('metadata is not a map of strings to strings', async () => {
    for (const metadata of ['1', '[]', '{"a":1}', '{"a":null}', '{"a":{}}']) {
      expect((await fault(rawFile(`{"__metadata__":${metadata}}`))).code).toBe('header-entry');
    }
    expect((await fault(rawFile('{"__metadata__":{},"__metadata__":{}}'))).code).toBe('header-entry');
    expect((await fault(rawFile('{"__metadata__":{"a":"1","a":"2"}}'))).code).toBe('header-entry');
  });
});

describe('coverage is refused when', () => {
  it('the data is truncated', async () => {
    expect((await fault(validFile([f32('a', 4)]).subarray(0, -1))).code).toBe('file-coverage');
  });
  it('bytes follow the last tensor', async () => {
    expect((await fault(rawFile(`{"a":${entry('[1]', '[0,4]')}}`, 5))).code).toBe('file-coverage');
    expect((await fault(rawFile('{}', 1))).code).toBe('file-coverage');
  });
});

it('a name of 10,000 characters does not fill the message', async () => {
  const error = await fault(rawFile(`{"${'<b>'.repeat(3333)}":1}`));
  expect(error.message.length).toBeLessThan(300);
  expect(error.tensor).toHaveLength(9999);
});

describe('serializeHeader', () => {
  it('pads to eight bytes and round-trips names, shapes and metadata in order', () => {
    const tensors = [
      f32('b', 2, 3),
      { name: '10', dtype: 'F4', shape: [4] } as const,
      f32('é"\n', 0),
      f32('__proto__'),
    ];
    const { bytes, fileBytes, tensors: places } = serializeHeader(tensors, { format: 'pt', __proto__x: 'y' });
    expect(bytes.length % 8).toBe(0);
    const header = parseHeader(bytes.subarray(8), fileBytes, FILE);
    expect(header.tensors).toEqual(places.map(place => ({ ...place, file: FILE })));
    expect(header.tensors.map(({ name }) => name)).toEqual(tensors.map(({ name }) => name));
    expect(header.metadata).toEqual({ format: 'pt', __proto__x: 'y' });
  });
  it('refuses duplicates and partial bytes', () => {
    expect(() => serializeHeader([f32('a', 1), f32('a', 1)])).toThrow(/given twice/);
    expect(() => serializeHeader([{ name: 'a', dtype: 'F4', shape: [3] }])).toThrow(/whole number of bytes/);
  });
});

it('serializeIndex maps every tensor to its file and adds up the bytes', () => {
  const shards = [
    { file: 'model-00001-of-00002.safetensors', tensors: [f32('a', 2), f32('b', 2)], bytes: 16 },
    { file: 'model-00002-of-00002.safetensors', tensors: [f32('c', 9)], bytes: 36 },
  ];
  expect(JSON.parse(serializeIndex(shards))).toEqual({
    metadata: { total_size: 52 },
    weight_map: { a: shards[0]!.file, b: shards[0]!.file, c: shards[1]!.file },
  });
});
