/** A language model of 14 small matrices, so that a compression takes well under a second and can be done a hundred times. */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { serializeHeader, type TensorSpec } from '../../extension/core/checkpoint/serialize';
import type { PipelineContext } from '../../extension/core/context';
import type { WritableFileSystem } from '../../extension/core/files/types';
import type { NativeModule } from '../../extension/core/native';
import type { CompressRequest } from '../../extension/core/requests/requests';
import { context } from '../unit/export/harness';
import { native } from './native';
import { calibration, evaluation, sample, smallGrid } from './running';

const VOCABULARY = 2048;

interface TinyShape {
  readonly hidden: number;
  readonly inner: number;
  readonly layers: number;
}
const TINY: TinyShape = { hidden: 64, inner: 128, layers: 2 };
/** Of sides that 128 divides, and so few of them that trellises of 2^16 states are no matter. */
export const WIDE: TinyShape = { hidden: 128, inner: 128, layers: 1 };
/** Matrices that a compression stores anew. */
export const TINY_MATRICES = 7 * TINY.layers;

/** Normal numbers, the same every time (Box and Muller over a linear congruence). */
function normal(): () => number {
  let state = 1;
  const uniform = (): number => (state = (state * 48271) % 2147483647) / 2147483647;
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** Writes the model in two shards with the sample's tokenizer; its folder. A tied one has no head of its own. */
export function writeTinyModel(folder: string, tied = false, shape: TinyShape = TINY): string {
  const { hidden, inner, layers } = shape;
  const model = path.join(folder, shape === WIDE ? 'wide' : tied ? 'tied' : 'model');
  mkdirSync(model, { recursive: true });
  const matrix = (name: string, rows: number, cols: number): TensorSpec => ({
    name,
    dtype: 'BF16',
    shape: [rows, cols],
  });
  const layer = (at: number): TensorSpec[] => {
    const own = `model.layers.${at}.`;
    return [
      ...['q', 'k', 'v', 'o'].map(which => matrix(`${own}self_attn.${which}_proj.weight`, hidden, hidden)),
      ...['gate', 'up'].map(which => matrix(`${own}mlp.${which}_proj.weight`, inner, hidden)),
      matrix(`${own}mlp.down_proj.weight`, hidden, inner),
      ...['input', 'post_attention'].map(which => ({
        name: `${own}${which}_layernorm.weight`,
        dtype: 'BF16' as const,
        shape: [hidden],
      })),
    ];
  };
  const shards = [
    [matrix('model.embed_tokens.weight', VOCABULARY, hidden), ...layer(0)],
    [
      ...Array.from({ length: layers - 1 }, (_, i) => layer(i + 1)).flat(),
      { name: 'model.norm.weight', dtype: 'BF16' as const, shape: [hidden] },
      ...(tied ? [] : [matrix('lm_head.weight', VOCABULARY, hidden)]),
    ],
  ];
  const random = normal();
  const map: Record<string, string> = {};
  for (const [i, tensors] of shards.entries()) {
    const file = `model-0000${i + 1}-of-00002.safetensors`;
    const values = tensors.flatMap(({ name, shape }) => {
      map[name] = file;
      const count = shape.reduce((product, size) => product * size, 1);
      return Array.from({ length: count }, () => (shape.length === 1 ? 1 : 0.1 * random()));
    });
    // The upper half of a float's bits is its BF16, cut.
    const bits = Uint16Array.from(new Uint32Array(Float32Array.from(values).buffer), word => word >>> 16);
    writeFileSync(
      path.join(model, file),
      Buffer.concat([serializeHeader(tensors, { format: 'pt' }).bytes, Buffer.from(bits.buffer)]),
    );
  }
  writeFileSync(path.join(model, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map: map }));
  const config = JSON.parse(readFileSync(path.join(sample, 'config.json'), 'utf8')) as Record<string, unknown>;
  writeFileSync(
    path.join(model, 'config.json'),
    JSON.stringify({
      ...config,
      hidden_size: hidden,
      intermediate_size: inner,
      num_attention_heads: 2,
      num_key_value_heads: 2,
      num_hidden_layers: layers,
      head_dim: hidden / 2,
      vocab_size: VOCABULARY,
      tie_word_embeddings: tied,
    }),
  );
  for (const name of readdirSync(sample).filter(each => each.startsWith('tokenizer')))
    copyFileSync(path.join(sample, name), path.join(model, name));
  return model;
}

/** A context on the real addon, one thread, whose methods may be replaced. */
export const tinyContext = (
  cache: string,
  changes: Partial<NativeModule> = {},
  files: Partial<WritableFileSystem> = {},
): PipelineContext => ({
  ...context(files),
  native: new Proxy(native, {
    get: (target, name) => Reflect.get(name in changes ? changes : target, name) as unknown,
  }),
  cache,
  threads: 1,
});

/** Beginnings of the sample texts: what is measured is not the tokenizer. */
function shortTexts(model: string): { calibration: string; evalText: string } {
  const beginning = (of: string, name: string): string => {
    const short = path.join(path.dirname(model), name);
    writeFileSync(short, readFileSync(of, 'utf8').slice(0, 2000));
    return short;
  };
  return {
    calibration: beginning(calibration, 'calibration.txt'),
    evalText: beginning(evaluation, 'evaluation.txt'),
  };
}

/** Every stage of a compression at its smallest: by the paper's method, with Fisher information, over six options. */
export const paperRequest = (model: string, out: string): CompressRequest => ({
  ...{ model, out, method: 'lq-lora', budget: { kind: 'bits', value: 3 }, ranks: [4], iterations: 2, grid: smallGrid },
  ...{ ...shortTexts(model), samples: 2, context: 32, windows: 2 },
});

/** The same by the default method: statistics, trellis codes, the second pass. */
export const frontierRequest = (model: string, out: string): CompressRequest => ({
  ...{ model, out, budget: { kind: 'bits', value: 3 } },
  ...{ ...shortTexts(model), samples: 2, context: 32, windows: 2 },
});

/** Every file below a folder with its content, by relative name; nothing where there is no folder. */
export function contentOf(folder: string): Map<string, Buffer> {
  if (!existsSync(folder)) return new Map();
  const names = readdirSync(folder, { recursive: true }).map(String).sort();
  return new Map(
    names
      .filter(name => statSync(path.join(folder, name)).isFile())
      .map(name => [name, readFileSync(path.join(folder, name))]),
  );
}

/**
 * Whether a sweep's entry has every measured cost of an earlier state of it, unchanged. More options are added, and a cost
 * that was predicted may be measured later.
 */
export function keepsCosts(earlier: Buffer, later: Buffer): boolean {
  type Costs = Record<string, { measured: boolean }>;
  const costsOf = (entry: Buffer): Costs => (JSON.parse(entry.toString()) as { costs: Costs }).costs;
  const now = costsOf(later);
  return Object.entries(costsOf(earlier)).every(([option, cost]) =>
    cost.measured ? JSON.stringify(now[option]) === JSON.stringify(cost) : option in now,
  );
}
