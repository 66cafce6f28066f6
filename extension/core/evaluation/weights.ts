/** Which tensor of a checkpoint is which weight of the network, for the families that can be run. */
import type {
  BlockInput,
  InputPlace,
  ModelWeight,
  NativeExperts,
  NativeLanguageModelConfig,
  WeightPlace,
  WeightSource,
} from '../native';
import { LqError } from '../errors';
import type { ExpertLayout } from './families/experts';

/** Where a weight's bytes are, dense or packed; undefined when the checkpoint has no such tensor. */
export type WeightLookup = (name: string) => WeightSource | undefined;

/** Matrices a squared gradient can be asked for, by their kind. */
export const GRADIENT_KINDS: ReadonlySet<string> = new Set(['q', 'k', 'v', 'o', 'gate', 'up', 'down']);

/** The input that each of them reads. */
export const BLOCK_INPUTS: ReadonlyMap<string, BlockInput> = new Map([
  ['q', 'attention'],
  ['k', 'attention'],
  ['v', 'attention'],
  ['o', 'output'],
  ['gate', 'mlp'],
  ['up', 'mlp'],
  ['down', 'down'],
]);

/** The input that a matrix of a block reads; undefined for other weights. */
export function inputOf({ layer, kind, expert }: WeightPlace): InputPlace | undefined {
  const input = BLOCK_INPUTS.get(kind);
  return input && { layer, input, ...(expert !== undefined && { expert }) };
}

export const inputKey = ({ layer, input, expert }: InputPlace): string => `${layer} ${input} ${expert ?? ''}`;

/** Where the network may lie within the model that was saved: alone, in a causal model, or in one for images too. */
const PREFIXES = ['model.', '', 'model.language_model.', 'language_model.model.', 'language_model.'];
/** The head of each, in the order of likelihood. */
const HEADS = ['lm_head.weight', 'language_model.lm_head.weight', 'model.lm_head.weight'];

/** Names that a checkpoint uses for the network's outer parts. */
export interface Naming {
  /** What stands before `layers.0` and `embed_tokens`. */
  readonly prefix: string;
  /** Name of a head of its own, when the checkpoint has one. */
  readonly head: string | undefined;
}

/** How a checkpoint names the network; a name it does not have is the usual one, for the error that misses it. */
export function namingOf(lookup: WeightLookup): Naming {
  const prefix = PREFIXES.find(each => lookup(`${each}embed_tokens.weight`) !== undefined) ?? 'model.';
  return { prefix, head: HEADS.find(name => lookup(name) !== undefined) };
}

/** How a family names what is not named as in Llama. */
export interface FamilyNames {
  /** Modules, by kind of weight. */
  readonly modules: Readonly<Record<string, string>>;
  /** Ways to store experts, likeliest first; none where there are no experts. */
  readonly experts: readonly ExpertLayout[];
}

interface Expected {
  kind: string;
  name: string;
  shape: readonly [rows: number, cols: number];
  expert?: number;
}

/**
 * Every weight the network needs, checked for presence and shape.
 * @param config with `tiedEmbeddings` as they are in the checkpoint: a head of its own is used
 * @param file the checkpoint, for errors
 * @param names those of this family that are not Llama's
 * @throws LqError 'tensor-not-found', or 'unsupported-model' when a shape is not what config.json says.
 */
export function modelWeights(
  config: NativeLanguageModelConfig,
  lookup: WeightLookup,
  file: string,
  names: FamilyNames = { modules: {}, experts: [] },
): ModelWeight[] {
  const { prefix, head } = namingOf(lookup);
  const weights: ModelWeight[] = [];
  const add = (layer: number, expected: readonly Expected[]): void => {
    for (const { kind, name, shape, expert } of expected) {
      const source = lookup(name);
      if (source === undefined)
        throw new LqError('tensor-not-found', `The checkpoint has no tensor ${name}.`, { file, tensor: name });
      if (source.rows !== shape[0] || source.cols !== shape[1]) {
        const message = `${name} is [${source.rows}, ${source.cols}] where config.json needs [${shape[0]}, ${shape[1]}].`;
        throw new LqError('unsupported-model', message, { file, tensor: name });
      }
      weights.push({ layer, kind, ...(expert !== undefined && { expert }), name, source });
    }
  };
  add(-1, outerWeights(config, prefix, head ?? 'lm_head.weight'));
  for (let layer = 0; layer < config.layers; layer++) {
    const within = `${prefix}layers.${layer}`;
    const { width = config.intermediate, routed = false } = config.layerTraits?.[layer] ?? {};
    const layout = routed ? layoutOf(names.experts, within, lookup) : undefined;
    add(layer, layerWeights(config, within, width, sharedNames(names.modules, layout)));
    if (layout && config.experts) add(layer, expertWeights(config.experts, config.hidden, within, layout));
  }
  return weights;
}

function outerWeights(c: NativeLanguageModelConfig, prefix: string, head: string): Expected[] {
  const matrix = [c.vocab, c.hidden] as const;
  return [
    { kind: 'embedding', name: `${prefix}embed_tokens.weight`, shape: matrix },
    ...norm(c, 'final_norm', `${prefix}norm`, c.hidden),
    ...(c.tiedEmbeddings ? [] : [{ kind: 'head', name: head, shape: matrix }]),
  ];
}

/** Modules of a block in Llama, by kind of weight. */
const MODULES: Readonly<Record<string, string>> = {
  input_norm: 'input_layernorm',
  post_attention_norm: 'post_attention_layernorm',
  q: 'self_attn.q_proj',
  k: 'self_attn.k_proj',
  v: 'self_attn.v_proj',
  o: 'self_attn.o_proj',
  q_norm: 'self_attn.q_norm',
  k_norm: 'self_attn.k_norm',
  gate: 'mlp.gate_proj',
  up: 'mlp.up_proj',
  down: 'mlp.down_proj',
};

/** A norm's weight, and the bias of a layer norm. */
function norm(c: NativeLanguageModelConfig, kind: string, module: string, size: number): Expected[] {
  const weight = { kind, name: `${module}.weight`, shape: [1, size] as const };
  return c.norm === 'layer' ? [weight, { kind: `${kind}_bias`, name: `${module}.bias`, shape: [1, size] }] : [weight];
}

/** The layout whose router the layer has, else the usual one, for the error that misses it. */
const layoutOf = (layouts: readonly ExpertLayout[], prefix: string, lookup: WeightLookup): ExpertLayout | undefined =>
  layouts.find(({ router }) => lookup(`${prefix}.${router}.weight`) !== undefined) ?? layouts[0];

/** In a routed layer the MLP of all tokens is the shared expert's. */
function sharedNames(
  modules: Readonly<Record<string, string>>,
  layout: ExpertLayout | undefined,
): Readonly<Record<string, string>> {
  const shared = layout?.shared;
  if (shared === undefined) return modules;
  return { ...modules, gate: `${shared}.gate_proj`, up: `${shared}.up_proj`, down: `${shared}.down_proj` };
}

function expertWeights(c: NativeExperts, hidden: number, prefix: string, layout: ExpertLayout): Expected[] {
  const inLayer = (name: string): string => `${prefix}.${name}`;
  const shapes = {
    gate: [c.intermediate, hidden],
    up: [c.intermediate, hidden],
    down: [hidden, c.intermediate],
  } as const;
  const kinds = ['gate', 'up', 'down'] as const;
  return [
    { kind: 'router', name: inLayer(`${layout.router}.weight`), shape: [c.count, hidden] },
    ...(c.routerBias === true
      ? [{ kind: 'router_bias', name: inLayer(`${layout.router}.bias`), shape: [1, c.count] as const }]
      : []),
    ...(c.correctionBias === true && layout.correction !== undefined
      ? [{ kind: 'router_correction', name: inLayer(layout.correction), shape: [1, c.count] as const }]
      : []),
    ...(c.sharedGate === true && layout.sharedGate !== undefined
      ? [{ kind: 'shared_gate', name: inLayer(`${layout.sharedGate}.weight`), shape: [1, hidden] as const }]
      : []),
    ...Array.from({ length: c.count }, (_, expert) =>
      kinds.map((kind): Expected => ({
        kind,
        expert,
        name: inLayer(`${layout.matrices[kind].replace('*', String(expert))}.weight`),
        shape: shapes[kind],
      })),
    ).flat(),
  ];
}

function layerWeights(
  c: NativeLanguageModelConfig,
  prefix: string,
  width: number,
  modules: Readonly<Record<string, string>>,
): Expected[] {
  const [q, kv] = [c.heads * c.headDim, c.kvHeads * c.headDim];
  const module = (kind: string): string => `${prefix}.${modules[kind] ?? MODULES[kind]!}`;
  const linear = (kind: string, rows: number, cols: number, bias: boolean): Expected[] => [
    { kind, name: `${module(kind)}.weight`, shape: [rows, cols] },
    ...(bias ? [{ kind: `${kind}_bias`, name: `${module(kind)}.bias`, shape: [1, rows] as const }] : []),
  ];
  const vector = (kind: string, size: number): Expected => ({
    kind,
    name: `${module(kind)}.weight`,
    shape: [1, size],
  });
  const places = c.normPlaces ?? 'before';
  const head = (heads: number): number => (c.headNorm === 'together' ? heads * c.headDim : c.headDim);
  return [
    ...(places === 'after'
      ? []
      : ['input_norm', 'post_attention_norm'].flatMap(kind => norm(c, kind, module(kind), c.hidden))),
    ...(places === 'before' ? [] : [vector('attention_output_norm', c.hidden), vector('mlp_output_norm', c.hidden)]),
    ...linear('q', q, c.hidden, c.attentionBias),
    ...linear('k', kv, c.hidden, c.attentionBias),
    ...linear('v', kv, c.hidden, c.attentionBias),
    ...linear('o', c.hidden, q, c.outputBias),
    ...(c.qkNorm ? [vector('q_norm', head(c.heads)), vector('k_norm', head(c.kvHeads))] : []),
    ...(width === 0 || c.plainMlp === true ? [] : linear('gate', width, c.hidden, c.mlpBias)),
    ...(width === 0 ? [] : linear('up', width, c.hidden, c.mlpBias)),
    ...(width === 0 ? [] : linear('down', c.hidden, width, c.mlpBias)),
  ];
}
