/**
 * Rotary position embedding from config.json: `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling`
 * (before). Where a file has both objects, `rope_scaling` replaces the other whole, as in transformers.
 */
import type { NativeLanguageModelConfig } from '../native';
import type { ConfigReader } from './config-reader';
import type { Family } from './families/family';
import { ROPE_KEYS } from './families/keys';

const DEFAULT_THETA = 10_000;

/**
 * @returns the rotary embedding; `ropeLocalTheta` where layers with a window have one of their own; the share of each head
 *   that is rotated
 * @throws LqError 'unsupported-model' naming the scaling or the field that is missing.
 */
export function readRope(
  config: ConfigReader,
  maxPositions: number,
  family: Pick<Family, 'ropeTheta' | 'rotatedShare' | 'originalPositions'>,
): Pick<NativeLanguageModelConfig, 'rope' | 'ropeTheta' | 'ropeLocalTheta'> & {
  rotatedShare: number;
  warnings: string[];
} {
  const [before, now] = [config.object('rope_scaling'), config.object('rope_parameters')];
  const both = typeof family.ropeTheta === 'object' ? family.ropeTheta : undefined;
  const given =
    before !== undefined && before.names.length > 0 && (both === undefined || now === undefined) ? before : now;
  const byType = given?.names.some(name => given.isObject(name)) ?? false;
  if (byType && both === undefined) config.refuse('A rotary embedding for each type of layer is not supported');
  const scaling = byType ? given?.object('full_attention') : given;
  const theta = both?.full ?? (typeof family.ropeTheta === 'number' ? family.ropeTheta : DEFAULT_THETA);
  const ropeTheta = scaling?.has('rope_theta') ? scaling.number('rope_theta') : config.number('rope_theta', theta);
  const rotatedShare = readShare(config, scaling, family.rotatedShare);
  const local =
    both === undefined ? {} : { ropeLocalTheta: localTheta(config, byType ? given : undefined, both, ropeTheta) };
  const warnings =
    before !== undefined && given === before && now !== undefined
      ? ['config.json has rope_scaling and rope_parameters; rope_scaling was used, as transformers does.']
      : [];
  if (scaling === undefined) return { ropeTheta, ...local, rope: { type: 'default' }, rotatedShare, warnings };
  const type = scaling.text('rope_type', scaling.text('type', 'default'));
  // The model's own field goes before the scaling's, which goes before the length it is now said to have.
  const original = config.has('original_max_position_embeddings') ? config : scaling;
  const originalMaxPositions = original.number(
    'original_max_position_embeddings',
    family.originalPositions ?? maxPositions,
  );
  return {
    ropeTheta,
    ...local,
    rope: readScaling(type, scaling, maxPositions, originalMaxPositions),
    rotatedShare,
    warnings: [...unusedKeys(type, scaling), ...warnings],
  };
}

function unusedKeys(type: string, scaling: ConfigReader): string[] {
  const unknown = scaling.names.filter(name => !ROPE_KEYS.includes(name));
  return unknown.length > 0 ? [`The rotary scaling ${type} has keys that were not used: ${unknown.join(', ')}.`] : [];
}

/** The share of each head that is rotated; another than all is refused where the family does not read it. */
function readShare(config: ConfigReader, scaling: ConfigReader | undefined, family: number | undefined): number {
  const stated = [scaling, config].find(source => source?.has('partial_rotary_factor'));
  const share = stated?.number('partial_rotary_factor') ?? family ?? 1;
  if (share !== 1 && family === undefined)
    config.refuse(`A rotary embedding of ${share} of each head is not supported`);
  if (share <= 0 || share > 1) config.refuse(`partial_rotary_factor in config.json is not a share: ${share}`);
  return share;
}

/** Base of layers with a window: never scaled, so a scaling of theirs is refused. */
function localTheta(
  config: ConfigReader,
  byType: ConfigReader | undefined,
  defaults: { sliding: number; full: number },
  ropeTheta: number,
): number {
  const own = byType?.object('sliding_attention');
  if (own !== undefined && own.text('rope_type', 'default') !== 'default')
    config.refuse('A scaled rotary embedding of layers with a window is not supported');
  // Families with one default for both give both layers the base that is named.
  const fallback = defaults.full === defaults.sliding ? ropeTheta : defaults.sliding;
  return own?.number('rope_theta', fallback) ?? config.number('rope_local_base_freq', fallback);
}

function readScaling(
  type: string,
  scaling: ConfigReader,
  maxPositions: number,
  originalMaxPositions: number,
): NativeLanguageModelConfig['rope'] {
  switch (type) {
    case 'default':
      return { type };
    case 'linear':
    case 'dynamic':
      return { type, factor: scaling.number('factor') };
    case 'llama3':
      return {
        type,
        factor: scaling.number('factor'),
        lowFreqFactor: scaling.number('low_freq_factor'),
        highFreqFactor: scaling.number('high_freq_factor'),
        originalMaxPositions,
      };
    case 'yarn': {
      const factor = scaling.number('factor', maxPositions / originalMaxPositions);
      return {
        type,
        factor,
        originalMaxPositions,
        attentionFactor: scaling.number('attention_factor', yarnAttention(scaling, factor)),
        // transformers takes 0 for absent here.
        betaFast: scaling.number('beta_fast', 0) || 32,
        betaSlow: scaling.number('beta_slow', 0) || 1,
        ...(scaling.has('truncate') && !scaling.flag('truncate') && { exact: true }),
      };
    }
    case 'longrope':
    case 'su': {
      const factor = scaling.number('factor', maxPositions / originalMaxPositions);
      const attention = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalMaxPositions));
      return {
        type: 'longrope',
        originalMaxPositions,
        attentionFactor: scaling.number('attention_factor', attention),
        shortFactors: factors(scaling, 'short_factor'),
        longFactors: factors(scaling, 'long_factor'),
      };
    }
    default:
      return scaling.refuse(
        `The rotary scaling ${type} is not supported; default, linear, dynamic, llama3, yarn and longrope are`,
      );
  }
}

/** What frequencies are divided by, one number each. */
function factors(scaling: ConfigReader, key: string): number[] {
  const list = scaling.list(key);
  if (list === undefined || !list.every(value => typeof value === 'number' && value > 0))
    return scaling.refuse(`${key} of the rotary scaling longrope is not a list of numbers above 0`);
  return list as number[];
}

/** What cosines and sines are multiplied by (arXiv 2309.00071, equation 22, and DeepSeek's two-sided form of it). */
function yarnAttention(scaling: ConfigReader, factor: number): number {
  const scale = (weight: number): number => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  const above = scaling.number('mscale', 0);
  const below = scaling.number('mscale_all_dim', 0);
  return above !== 0 && below !== 0 ? scale(above) / scale(below) : scale(1);
}
