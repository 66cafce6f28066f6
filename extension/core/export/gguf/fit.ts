/** Whether an architecture of llama.cpp computes what a network does: what differs is refused by name. */
import { LqError } from '../../errors';
import type { NativeExperts, NativeLanguageModelConfig } from '../../native';
import type { Architecture } from '../../checkpoint/gguf/architectures/architecture';

type Parts = NativeLanguageModelConfig;
type Refuse = (what: string) => never;

/** Said by keys, tensors and their shapes, or looked at below. */
const ELSEWHERE: ReadonlySet<string> = new Set<keyof Parts>([
  ...(['layers', 'hidden', 'heads', 'kvHeads', 'headDim', 'intermediate', 'vocab', 'maxPositions', 'rmsEps'] as const),
  ...(['ropeTheta', 'rope', 'slidingWindow', 'tiedEmbeddings', 'layerTraits', 'activation', 'rotaryDim'] as const),
  ...(['attentionBias', 'outputBias', 'mlpBias', 'experts', 'precision', 'maskToken'] as const),
]);

/** What a part is where a network does not say. */
const usual = ({ headDim }: Parts): Partial<Parts> => ({
  ...{ norm: 'rms', normOffset: 0, normPlaces: 'before', headNorm: 'each', attentionScale: 1 / Math.sqrt(headDim) },
  ...{ attentionSoftcap: 0, logitSoftcap: 0, attentionClamp: 0, embeddingScale: 1, residualScale: 1, logitScale: 1 },
});

/** Parts as people know them. */
const WORDS: Readonly<Record<string, string>> = {
  ...{
    normPlaces: 'Where its norms stand',
    normOffset: 'What the weights of its norms count from',
    norm: 'Its kind of norm',
  },
  ...{
    qkNorm: 'Norms of queries and keys',
    headNorm: 'Its norms of queries and keys',
    parallel: 'Attention beside the MLP',
  },
  ...{
    attentionScale: 'Its scale of scores',
    attentionSoftcap: 'Its soft-cap of scores',
    logitSoftcap: 'Its soft-cap of logits',
  },
  ...{ attentionClamp: 'Clipping of queries, keys and values', embeddingScale: 'Its multiplier of embeddings' },
  ...{
    residualScale: 'Its multiplier of residuals',
    logitScale: 'Its multiplier of logits',
    alibi: 'Biases by distance',
  },
  ...{ ropeLocalTheta: 'The rotary base of its layers with a window', fusedQkv: 'Its order of rows of q, k and v' },
  ...{
    headBias: 'A bias of logits',
    embedding: 'What is added to its embedding',
    plainMlp: 'An MLP with or without a gate',
  },
  ...{
    bothDirections: 'Attention in both directions',
    sinks: 'Attention sinks',
    rotaryInterleaved: 'Its order of rotary pairs',
  },
};

function same(a: unknown, b: unknown): boolean {
  if (typeof a === 'number' && typeof b === 'number') return Math.abs(a - b) <= 1e-6 * Math.abs(b);
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((value, i) => same(value, b[i]));
  return JSON.stringify(a ?? false) === JSON.stringify(b ?? false);
}

/** @throws LqError 'unsupported-model' naming what llama.cpp would compute otherwise. */
export function requireFit(config: Parts, architecture: Architecture, file: string): void {
  const refuse: Refuse = what => {
    throw new LqError('unsupported-model', `${what} has no form in GGUF for ${architecture.name}.`, { file });
  };
  const { activations = ['silu'], biases = [] } = architecture;
  requireParts(config, architecture, refuse);
  const { activation = 'silu' } = config;
  if (!activations.includes(activation)) refuse(`The activation ${activation}`);
  for (const [kind, has] of [
    ['attention', config.attentionBias],
    ['output', config.outputBias],
    ['mlp', config.mlpBias],
  ] as const)
    if (has && !biases.includes(kind)) refuse(`A bias of its ${kind === 'mlp' ? 'MLP' : kind}`);
  if (config.maskToken !== undefined) refuse('Prediction of masked tokens');
  if (architecture.tied && !config.tiedEmbeddings) refuse('A head of its own');
  if (architecture.paired && (config.rotaryDim ?? config.headDim) !== config.headDim)
    refuse(`A rotary embedding of ${config.rotaryDim} of ${config.headDim} dimensions`);
  requireRotary(config, architecture, refuse);
  requireExperts(config, architecture, refuse);
}

type Values = Readonly<Record<string, unknown>>;

function requireParts(config: Parts, architecture: Architecture, refuse: Refuse): void {
  const { computes = {}, states = {}, always = [], tensors = {}, normOffset = 0 } = architecture;
  const known: Values = usual(config);
  const given = config as unknown as Values;
  const wanted: Values = { ...known, normOffset, ...(typeof computes === 'function' ? computes(config) : computes) };
  for (const part of new Set([...Object.keys(given), ...Object.keys(wanted)])) {
    if (ELSEWHERE.has(part) || part in tensors || (part === 'fusedGateUp' && wanted[part] === undefined)) continue;
    const value = given[part] ?? known[part];
    if (part in states ? always.includes(part as keyof Parts) && !value : !same(value, wanted[part]))
      refuse(WORDS[part] ?? `${part} ${JSON.stringify(value)}`);
  }
}

function requireRotary({ rope, layers, layerTraits }: Parts, architecture: Architecture, refuse: Refuse): void {
  if ((rope.type === 'llama3' || rope.type === 'longrope') && architecture.divisors !== rope.type)
    refuse(`The rotary scaling ${rope.type}`);
  if (rope.type === 'dynamic') refuse('The rotary scaling dynamic');
  if (rope.type === 'yarn') {
    const usualFactor = 1 + 0.1 * Math.log(rope.factor!);
    if (rope.betaFast !== 32 || rope.betaSlow !== 1 || !same(rope.attentionFactor, usualFactor))
      refuse('The rotary scaling yarn with settings of its own');
  }
  for (let layer = 0; layer < layers; layer++) {
    const { rotary = 'standard', window = 0 } = layerTraits?.[layer] ?? {};
    if (rotary !== (architecture.rotary?.(layer, window > 0) ?? 'standard'))
      refuse(`The rotary embedding of layer ${layer} (${rotary})`);
  }
}

/** What experts are where a network does not say. */
const USUAL_EXPERTS: Values = { score: 'softmax', scale: 1, groups: 1, topGroups: 1 };
/** Said by keys; gate and up in one tensor are written apart. */
const COUNTS: ReadonlySet<string> = new Set<keyof NativeExperts>(['count', 'topK', 'intermediate', 'fusedGateUp']);

function requireExperts({ experts, layerTraits, layers }: Parts, architecture: Architecture, refuse: Refuse): void {
  if (experts === undefined) return;
  if (architecture.experts === undefined) return refuse('A mixture of experts');
  const { computes, states = {}, dense } = architecture.experts;
  const wanted = { ...USUAL_EXPERTS, ...computes } as Values;
  const given = experts as unknown as Values;
  for (const part of new Set([...Object.keys(given), ...Object.keys(wanted)]))
    if (!COUNTS.has(part) && !(part in states) && !same(given[part] ?? USUAL_EXPERTS[part], wanted[part]))
      refuse(`Its router (${part})`);
  const first = dense === undefined ? 0 : (layerTraits?.findIndex(({ routed }) => routed === true) ?? 0);
  for (let layer = first; layer < layers; layer++)
    if (layerTraits?.[layer]?.routed !== true) refuse(`Layer ${layer} without experts`);
}

/** Tokens that layers attend to, by layer; 0: all before. */
const windowsOf = ({ layers, layerTraits, slidingWindow }: Parts): number[] =>
  Array.from({ length: layers }, (_, layer) => layerTraits?.[layer]?.window ?? slidingWindow);

/**
 * The window that the file says, and the positions up to which it computes what the network does: where the architecture has no
 * windows, up to the network's own.
 * @throws LqError 'unsupported-model' for windows in other layers than llama.cpp has them in.
 */
export function windowOf(
  config: Parts,
  { windowPeriod, windowOptional, name, usualContext }: Architecture,
  file: string,
): { window?: number; positions: number } {
  if (usualContext !== undefined) return { positions: Math.min(config.maxPositions, usualContext) };
  const windows = windowsOf(config).map(window => (!windowOptional && window >= config.maxPositions ? 0 : window));
  const window = Math.max(0, ...windows);
  if (windowPeriod === undefined) {
    const least = Math.min(...windows.filter(each => each > 0));
    return { positions: Math.min(config.maxPositions, least) };
  }
  if (window === 0) return { ...(!windowOptional && { window: config.maxPositions }), positions: config.maxPositions };
  if (windows.some((each, layer) => each !== ((layer + 1) % windowPeriod === 0 ? 0 : window)))
    throw new LqError('unsupported-model', `Its order of layers with a window has no form in GGUF for ${name}.`, {
      file,
    });
  return { window, positions: config.maxPositions };
}
