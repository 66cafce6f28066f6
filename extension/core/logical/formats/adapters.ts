/** Adapters beside LoRA: LoHa and LoKr are joined to the update they are, others named after their method. */
import { elementCount } from '../../dtypes';
import type { TensorInfo } from '../../checkpoint/types';
import { numericDescriptor } from '../../checkpoint/formats/descriptors';
import { partsOf, stem, type Format, type FormatSource, type PackedWeight } from './recogniser';

const PEFT_PREFIX = 'base_model.model.';
const moduleOf = (stored: string): string =>
  stored.startsWith(PEFT_PREFIX) ? stored.slice(PEFT_PREFIX.length) : stored;

function update(
  kind: string,
  rank: number | undefined,
  stored: string,
  shape: readonly number[],
  parts: readonly TensorInfo[],
  source: FormatSource,
): PackedWeight {
  const alpha = source.byName.get(`${stored}.alpha`);
  const value = alpha && numericDescriptor(source.descriptors.get(alpha.name), alpha.dtype)?.[0];
  const counted = parts.filter(part => part !== alpha);
  return {
    name: `${moduleOf(stored)}.weight`,
    shape,
    dtype: `${kind}${rank === undefined ? '' : ` r${rank}`}${value === undefined ? '' : ` α${Number(value.toPrecision(4))}`}`,
    format: 'lora',
    ...(rank !== undefined && { rank }),
    parameters: counted.reduce((sum, part) => sum + elementCount(part.shape), 0),
    parts,
  };
}

const LOHA = ['.hada_w1_a', '.hada_w1_b', '.hada_w2_a', '.hada_w2_b', '.hada_t1', '.hada_t2', '.dora_scale', '.alpha'];

/**
 * LoHa: (w1_a w1_b) * (w2_a w2_b), elementwise, w1_a [out, r] and w1_b [r, in]; with cores t [r, r, kh, kw] of a
 * convolution, w1_a [r, out]. Source: LyCORIS.
 */
export const loha: Format = {
  endings: ['hada_w1_a'],
  recognise(tensor, source) {
    const stored = stem(tensor.name, '.hada_w1_a');
    if (stored === undefined) return undefined;
    const [w1b, w2a, w2b] = LOHA.slice(1, 4).map(name => source.byName.get(stored + name));
    if (tensor.shape.length !== 2 || w1b?.shape.length !== 2 || !w2a || !w2b) return undefined;
    const core = source.byName.get(`${stored}.hada_t1`)?.shape;
    const [rank, out] = core ? tensor.shape : [tensor.shape[1], tensor.shape[0]];
    const shape = [out!, w1b.shape[1]!, ...(core?.slice(2) ?? [])];
    return w1b.shape[0] === rank
      ? update('LoHa', rank, stored, shape, partsOf(source, stored, LOHA), source)
      : undefined;
  },
};

const LOKR = '.lokr_w1 .lokr_w1_a .lokr_w1_b .lokr_w2 .lokr_w2_a .lokr_w2_b .lokr_t2 .dora_scale .alpha'.split(' ');

/** LoKr: the Kronecker product of w1 and w2, each whole or as a product of two factors. Source: LyCORIS. */
export const lokr: Format = {
  endings: ['lokr_w1', 'lokr_w1_a'],
  recognise(tensor, source) {
    const stored = stem(tensor.name, '.lokr_w1') ?? stem(tensor.name, '.lokr_w1_a');
    const first = stored === undefined ? undefined : factor(stored, 'lokr_w1', source);
    const second = stored === undefined ? undefined : factor(stored, 'lokr_w2', source);
    if (stored === undefined || !first || !second) return undefined;
    const shape = [first.shape[0]! * second.shape[0]!, first.shape[1]! * second.shape[1]!, ...second.shape.slice(2)];
    return update('LoKr', second.rank ?? first.rank, stored, shape, partsOf(source, stored, LOKR), source);
  },
};

function factor(
  stored: string,
  name: string,
  source: FormatSource,
): { shape: readonly number[]; rank?: number } | undefined {
  const whole = source.byName.get(`${stored}.${name}`);
  if (whole) return whole.shape.length >= 2 ? { shape: whole.shape } : undefined;
  const [a, b] = [source.byName.get(`${stored}.${name}_a`), source.byName.get(`${stored}.${name}_b`)];
  if (a?.shape.length !== 2 || b === undefined || b.shape.length < 2) return undefined;
  const core = name === 'lokr_w2' ? source.byName.get(`${stored}.lokr_t2`)?.shape : undefined;
  if (core) return { shape: [a.shape[1]!, b.shape[1]!, ...core.slice(2)], rank: core[0]! };
  return a.shape[1] === b.shape[0] ? { shape: [a.shape[0]!, ...b.shape.slice(1)], rank: a.shape[1]! } : undefined;
}

/** VeRA: vectors `vera_lambda_b` [out] and `vera_lambda_d` [r] scale projections that all modules share. */
export const vera: Format = {
  endings: ['vera_lambda_d'],
  recognise(tensor, source) {
    const stored = stem(tensor.name, '.vera_lambda_d');
    const out = source.byName.get(`${stored}.vera_lambda_b`);
    if (stored === undefined || !out) return undefined;
    const shared = source.tensors.find(({ name }) => /(?:^|\.)vera_A(?:\.[^.]+)?$/.test(name));
    const inputs = shared?.shape.at(-1);
    const [rows, rank] = [elementCount(out.shape), elementCount(tensor.shape)];
    const shape = inputs === undefined ? [rows] : [rows, inputs];
    return update('VeRA', rank, stored, shape, [tensor, out], source);
  },
};

/** Methods whose tensors stand for themselves: what they are added to or multiplied with cannot be told from them. */
const SINGLE: Readonly<Record<string, string>> = {
  ia3_l: 'IA3',
  oft_r: 'OFT',
  oft_R: 'OFT',
  oft_blocks: 'OFT',
  oft_diag: 'OFT',
  boft_R: 'BOFT',
  fourierft_spectrum: 'FourierFT',
  hra_u: 'HRA',
  bone_block: 'Bone',
  miss_block: 'MiSS',
  vera_A: 'VeRA projection',
  vera_B: 'VeRA projection',
};
const BESIDE: Readonly<Record<string, readonly string[]>> = {
  oft_r: ['.oft_s'],
  oft_blocks: ['.rescale', '.alpha'],
  oft_diag: ['.rescale', '.alpha'],
  boft_R: ['.boft_s'],
};

export const otherAdapters: Format = {
  endings: [...Object.keys(SINGLE), 'weight'],
  recognise(tensor, source) {
    const whole = stem(tensor.name, '.weight') ?? tensor.name;
    const at = whole.lastIndexOf('.');
    const method = whole.slice(at + 1);
    if (at < 1 || !Object.hasOwn(SINGLE, method)) return undefined;
    const stored = whole.slice(0, at);
    return {
      name: `${moduleOf(stored)}.${method}`,
      shape: tensor.shape,
      dtype: SINGLE[method]!,
      format: 'lora',
      parts: [tensor, ...partsOf(source, stored, BESIDE[method] ?? [])],
    };
  },
};
