/** Generators of safetensors files: valid ones, and ones broken in the ways that validators get wrong. */
import fc from 'fast-check';
import { dtypeBits } from '../../../extension/core/dtypes';
import { serializeHeader, type TensorSpec } from '../../../extension/core/checkpoint/serialize';
import type { Dtype } from '../../../extension/core/dtypes';
import { rawFile } from './containers';

const DTYPES: readonly Dtype[] = ['F32', 'BF16', 'U8', 'I64', 'BOOL', 'F16', 'F64', 'F8_E4M3', 'F4', 'F6_E2M3'];

const name = fc.oneof(
  fc.constantFrom('a', 'b', 'model.layers.0.w', '__proto__', 'constructor', '', '"', 'é😀', '\\', '10', '2'),
  fc.string({ unit: 'grapheme', maxLength: 12 }),
);

const spec: fc.Arbitrary<TensorSpec> = fc
  .record({
    name: name.filter(text => text !== '__metadata__'),
    dtype: fc.constantFrom(...DTYPES),
    shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }),
  })
  // A leading multiple of four makes every sub-byte shape whole.
  .map(({ dtype, shape, ...rest }) => ({ ...rest, dtype, shape: dtypeBits(dtype) < 8 ? [4, ...shape] : shape }));

const metadata = fc.dictionary(
  fc.string({ maxLength: 6 }).filter(key => key !== '__proto__'),
  fc.string({ maxLength: 6 }),
  { maxKeys: 3 },
);

/** Tensors with distinct names and metadata, as a writer would give them. */
export const contents = fc.record({
  tensors: fc.uniqueArray(spec, { selector: ({ name: unique }) => unique, maxLength: 6 }),
  metadata,
});

const validFile = contents.map(({ tensors, metadata: texts }) => {
  const header = serializeHeader(tensors, texts);
  const file = new Uint8Array(header.fileBytes);
  file.set(header.bytes);
  return file;
});

/** Single bytes changed, cut or added anywhere, most of all in the header. */
const damagedBytes = fc
  .tuple(
    validFile,
    fc.array(fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), byte: fc.nat(255) }), {
      minLength: 1,
      maxLength: 3,
    }),
    fc.constantFrom('change', 'cut', 'insert', 'delete', 'append'),
  )
  .map(([file, edits, how]) => {
    let bytes = [...file];
    for (const { at, byte } of edits) {
      const index = Math.floor(at * bytes.length);
      if (how === 'change') bytes[index] = byte;
      else if (how === 'cut') bytes = bytes.slice(0, index);
      else if (how === 'insert') bytes.splice(index, 0, byte);
      else if (how === 'delete') bytes.splice(index, 1);
      else bytes.push(byte);
    }
    return Uint8Array.from(bytes);
  });

/** Text that is at home in a header, and text that is not. */
const token = fc.constantFrom(
  ...['0', '1', '4', '8', '-1', '-0', '1.0', '1e0', '01', '4294967296', '9007199254740993', '18446744073709551615'],
  ...[
    '18446744073709551616',
    'null',
    'true',
    '""',
    '"F32"',
    '"F33"',
    '[]',
    '{}',
    '[0]',
    '"\\ud800"',
    '"\\u0041"',
    '1e999',
  ],
);
const few = (of: fc.Arbitrary<string>, maxLength: number): fc.Arbitrary<string> =>
  fc.array(of, { maxLength }).map(values => `[${values.join(',')}]`);
const dimension = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('0', '1', '2', '4') },
  { weight: 1, arbitrary: token },
);
const offsets = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.tuple(fc.nat(3), fc.nat(3)).map(([from, count]) => `[${4 * from},${4 * (from + count)}]`),
  },
  { weight: 1, arbitrary: few(dimension, 3) },
);
const field = fc.oneof(
  {
    weight: 1,
    arbitrary: fc.tuple(fc.constantFrom('"x"', '"shape"', '"dtype"', 'x'), token).map(pair => pair.join(':')),
  },
  { weight: 9, arbitrary: fc.constant('') },
);
const entry = fc.oneof(
  {
    weight: 9,
    arbitrary: fc
      .tuple(fc.constantFrom('"F32"', '"F32"', '"F32"', '"U8"', '"F4"', '"NO"', '1'), few(dimension, 3), offsets, field)
      .map(([dtype, shape, range, extra]) =>
        [`"dtype":${dtype}`, `"shape":${shape}`, `"data_offsets":${range}`, extra].filter(Boolean).join(','),
      )
      .map(fields => `{${fields}}`),
  },
  { weight: 1, arbitrary: token },
);
const key = fc.constantFrom('"a"', '"b"', '"c"', '"d"', '"__metadata__"', '"\\u0061"');

/** Headers put together from pieces that look right, at offsets that may meet, overlap or leave holes. */
const strangeHeader = fc
  .tuple(
    fc.array(fc.tuple(key, entry), { maxLength: 4 }),
    fc.oneof(
      { weight: 8, arbitrary: fc.constant('') },
      { weight: 2, arbitrary: fc.constantFrom(' ', '\n', '\0', ',', '{}') },
    ),
    fc.constantFrom(0, 0, 4, 8, 12, 16, 5),
  )
  .map(([pairs, tail, dataBytes]) => {
    const body = pairs.map(pair => pair.join(':')).join(',');
    return rawFile(`{${body}}${tail}`, dataBytes);
  });

/** Headers whose entries follow one another exactly, so that a good part of the files is valid. */
const nearlyValid = fc
  .tuple(
    fc.array(fc.tuple(fc.nat(3), fc.nat(3), fc.boolean()), { maxLength: 4 }),
    fc.constantFrom(0, 0, 0, 4, -4),
    field,
  )
  .map(([tensors, slack, extra]) => {
    let end = 0;
    const entries = tensors.map(([rows, cols, shifted], i) => {
      const begin = end + (shifted && slack > 0 ? slack : 0);
      end = begin + 4 * rows * cols;
      const more = extra === '' ? '' : `,${extra}`;
      return `"t${i}":{"dtype":"F32","shape":[${rows},${cols}],"data_offsets":[${begin},${end}]${more}}`;
    });
    return rawFile(`{${entries.join(',')}}`, Math.max(0, end + (slack < 0 ? slack : 0)));
  });

/** Files of every kind, good and bad. */
export const anyFile = fc.oneof(validFile, damagedBytes, strangeHeader, nearlyValid);
