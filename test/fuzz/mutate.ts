/** Damage to files, as transfers, tools and attackers do it: to bytes anywhere, and to the values of JSON. */

/** A small generator (mulberry32), so that a run can be repeated from its seed. */
export class Random {
  constructor(private state: number) {}

  /** A whole number from 0 to below `n`. */
  below(n: number): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * n);
  }

  of<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }
}

/** Texts that parsers stumble over. */
const TOKENS = [
  ...['0', '-1', '1.5', '1e999', '9007199254740993', '18446744073709551615', '99999999999999999999', '-0', '0x10'],
  ...[
    'null',
    'true',
    'NaN',
    '-Infinity',
    '""',
    '[]',
    '{}',
    '[[[[[[[[',
    '{"a":{"a":{"a":',
    '"\\ud800"',
    '\\u0000',
    '"\u202e"',
  ],
  ...[
    '"__proto__"',
    '"constructor"',
    '"F32"',
    '"F4"',
    '"U3"',
    '"../../x"',
    '"/etc/passwd"',
    ',',
    ':',
    '}',
    ']',
    '"',
    '\\',
  ],
  ...['"(a+)+$"', '"re:(.*)*x"', '"re:(?=a)"', '"safetensors"', ' '.repeat(64), '\0', '\ufeff', '"'.repeat(33)],
];

/** Values that are legal JSON and illegal everywhere else. */
const VALUES: readonly unknown[] = [
  ...[null, true, -1, 0, 1.5, 1e308, 2 ** 53, 2 ** 31, '', 'x'.repeat(3000), '__proto__', [], {}, [[]], { a: null }],
  ...['-1', 'NaN', '\u0000', [1, 2, 3, 4, 5, 6, 7, 8, 9], { bits: -4 }, [-1, 'a'], Array<number>(500).fill(7)],
];

/** One to four changes to a file. */
export function mutated(bytes: Uint8Array, random: Random): Uint8Array {
  let result = bytes;
  for (let i = random.below(4); i >= 0; i--) {
    const json = random.below(3) === 0 ? mutatedJson(result, random) : undefined;
    result = json ?? mutatedBytes(result, random);
  }
  return result;
}

function mutatedBytes(bytes: Uint8Array, random: Random): Uint8Array {
  // The front of a file says what the rest is.
  const at = random.below(random.below(2) === 0 ? Math.min(bytes.length, 600) + 1 : bytes.length + 1);
  const length = random.below(random.of([1, 4, 40, 400]));
  const token = new TextEncoder().encode(random.of(TOKENS));
  switch (random.below(8)) {
    case 0:
    case 1: {
      const copy = Uint8Array.from(bytes);
      if (at < copy.length) copy[at] = random.of([random.below(256), copy[at]! ^ (1 << random.below(8)), 0, 255]);
      return copy;
    }
    case 2:
      return joined(bytes.subarray(0, at), token, bytes.subarray(at));
    case 3:
      return joined(bytes.subarray(0, at), token, bytes.subarray(at + token.length));
    case 4:
      return joined(bytes.subarray(0, at), bytes.subarray(at + length));
    case 5:
      return bytes.slice(0, at);
    case 6:
      return joined(bytes.subarray(0, at), bytes.subarray(at, at + length), bytes.subarray(at));
    default:
      return replacedNumber(bytes, random);
  }
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

/** Another number or token where a run of digits is, the stated length of the header kept right. */
function replacedNumber(bytes: Uint8Array, random: Random): Uint8Array {
  return withHeader(bytes, text => {
    const runs = [...text.matchAll(/\d+/g)];
    const run = runs.length > 0 ? random.of(runs) : undefined;
    const token = random.of([...TOKENS.slice(0, 10), String(Number(run?.[0] ?? 0) + random.of([-1, 1, 4, 4096]))]);
    return run ? text.slice(0, run.index) + token + text.slice(run.index + run[0].length) : text;
  });
}

/** Another value, key or order somewhere in the JSON of a file; undefined where there is none. */
function mutatedJson(bytes: Uint8Array, random: Random): Uint8Array | undefined {
  const parsed: unknown[] = [];
  const result = withHeader(bytes, text => {
    try {
      const value: unknown = JSON.parse(text.trimEnd());
      parsed.push(value);
      return JSON.stringify(changedValue(value, random));
    } catch {
      return text;
    }
  });
  return parsed.length > 0 ? result : undefined;
}

function changedValue(value: unknown, random: Random): unknown {
  if (typeof value !== 'object' || value === null || random.below(6) === 0) return random.of(VALUES);
  if (Array.isArray(value)) {
    const items = value as unknown[];
    const at = random.below(items.length + 1);
    if (random.below(3) === 0) return items.filter((_, i) => i !== at);
    return at === items.length
      ? [...items, random.of(VALUES)]
      : items.map((item, i) => (i === at ? changedValue(item, random) : item));
  }
  const entries = Object.entries(value);
  const at = random.below(entries.length + 1);
  const pair = entries[at];
  if (pair === undefined)
    return Object.fromEntries([
      ...entries,
      [random.of(['a', '__metadata__', '__proto__', 'shape']), random.of(VALUES)],
    ]);
  const how = random.below(6);
  if (how === 0) return Object.fromEntries(entries.filter(entry => entry !== pair));
  if (how === 1)
    return Object.fromEntries(
      entries.map(entry =>
        entry === pair ? [`${pair[0]}${random.of(['', '.x', '_scale', '\u202e'])}`, pair[1]] : entry,
      ),
    );
  return Object.fromEntries(entries.map(entry => (entry === pair ? [pair[0], changedValue(pair[1], random)] : entry)));
}

/** Applies a change to the JSON at the start of a safetensors file, or to a whole text. */
function withHeader(bytes: Uint8Array, change: (text: string) => string): Uint8Array {
  const decoder = new TextDecoder();
  const length = bytes.length >= 8 ? Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)) : 0;
  if (length === 0 || length > bytes.length - 8) return new TextEncoder().encode(change(decoder.decode(bytes)));
  const header = new TextEncoder().encode(change(decoder.decode(bytes.subarray(8, 8 + length))));
  const stated = new Uint8Array(8);
  new DataView(stated.buffer).setBigUint64(0, BigInt(header.length), true);
  return joined(stated, header, bytes.subarray(8 + length));
}
