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
import { turnedSource } from '../checkpoint/sources';
import type { ExpertLayout, ExpertMatrices } from './families/experts';
import type { FamilyNames, OuterNames } from './families/family';
import { LLAMA_MODULES, LLAMA_OUTER } from './families/names';

/** Where a weight's bytes are, dense or packed; undefined when the checkpoint has no such tensor. */
export type WeightLookup = (name: string) => WeightSource | undefined;

/** Matrices a squared gradient can be asked for, by their kind. */
export const GRADIENT_KINDS: ReadonlySet<string> = new Set([
  ...['q', 'k', 'v', 'qkv', 'o', 'gate', 'up', 'gate_up', 'down'],
]);

/** The input that each of them reads. */
export const BLOCK_INPUTS: ReadonlyMap<string, BlockInput> = new Map([
  ['q', 'attention'],
  ['k', 'attention'],
  ['v', 'attention'],
  ['qkv', 'attention'],
  ['o', 'output'],
  ['gate', 'mlp'],
  ['up', 'mlp'],
  ['gate_up', 'mlp'],
  ['down', 'down'],
]);

/** The input that a matrix of a block reads; undefined for other weights. */
export function inputOf({ layer, kind, expert }: WeightPlace): InputPlace | undefined {
  const input = BLOCK_INPUTS.get(kind);
  return input && { layer, input, ...(expert !== undefined && { expert }) };
}

export const inputKey = ({ layer, input, expert }: InputPlace): string => `${layer} ${input} ${expert ?? ''}`;

/** Names that a checkpoint uses for the network's outer parts. */
export interface Naming extends Omit<OuterNames, 'prefixes'> {
  /** What stands before them. */
  readonly prefix: string;
  /** Name of a head of its own, when the checkpoint has one. */
  readonly ownHead: string | undefined;
}

/** How a checkpoint names the network; a name it does not have is the usual one, for the error that misses it. */
export function namingOf(lookup: WeightLookup, { outer }: Pick<FamilyNames, 'outer'> = { outer: {} }): Naming {
  const prefixes = outer.prefixes ?? LLAMA_OUTER.prefixes;
  const modules = { ...LLAMA_OUTER.modules, ...outer.modules };
  const head = { ...LLAMA_OUTER.head, ...outer.head };
  const prefix = prefixes.find(each => lookup(`${each}${modules['embedding']!}.weight`) !== undefined) ?? prefixes[0]!;
  const ownHead = head['head']?.find(name => lookup(name) !== undefined);
  return { prefix, layers: outer.layers ?? LLAMA_OUTER.layers, modules, head, ownHead };
}

interface Expected {
  kind: string;
  name: string;
  shape: readonly [rows: number, cols: number];
  expert?: number;
  /** Stored [cols, rows]. */
  transposed?: boolean;
}

/** The matrix of what a checkpoint of a family that stores [in, out] has. MXFP4 has none such, and packed ones of ours say so. */
function asMatrix(source: WeightSource): Pick<ModelWeight, 'source' | 'transposed'> {
  if (source.kind === 'dense') return { source: turnedSource(source) };
  const isMatrix = source.kind === 'mxfp4' || (source.kind !== 'gguf' && source.transposed === true);
  return isMatrix ? { source } : { source, transposed: true };
}

/**
 * The network as a checkpoint stores it: a head of its own is used even where config.json ties it, and experts may be together
 * in one tensor.
 */
export function storedNetwork(
  config: NativeLanguageModelConfig,
  lookup: WeightLookup,
  names: FamilyNames,
): NativeLanguageModelConfig {
  const naming = namingOf(lookup, names);
  const first = config.layerTraits?.findIndex(({ routed }) => routed === true) ?? -1;
  const layout = first < 0 ? undefined : layoutOf(names.experts, `${naming.prefix}${naming.layers}.${first}`, lookup);
  return {
    ...config,
    tiedEmbeddings: config.tiedEmbeddings && naming.ownHead === undefined,
    ...(config.experts &&
      layout?.matrices.kind === 'together' && {
        experts: { ...config.experts, fusedGateUp: layout.matrices.order },
      }),
  };
}

/**
 * Every weight the network needs, checked for presence and shape.
 * @param config as the checkpoint stores the network, see `storedNetwork`
 * @param file the checkpoint, for errors
 * @param names those of this family that are not Llama's
 * @throws LqError 'tensor-not-found', or 'unsupported-model' when a shape is not what config.json says.
 */
export function modelWeights(
  config: NativeLanguageModelConfig,
  lookup: WeightLookup,
  file: string,
  names: FamilyNames = { modules: {}, experts: [], outer: {}, transposed: false },
): ModelWeight[] {
  const naming = namingOf(lookup, names);
  const weights: ModelWeight[] = [];
  const add = (layer: number, expected: readonly Expected[]): void => {
    for (const { kind, name, shape, expert, transposed = names.transposed && GRADIENT_KINDS.has(kind) } of expected) {
      const stored = lookup(name);
      if (stored === undefined) {
        // Encoders of sentences are saved without what they were trained with.
        const what =
          kind === 'head_dense'
            ? ' It has no head that predicts masked tokens: it can be compressed without a text, unweighted, but not evaluated.'
            : '';
        throw new LqError('tensor-not-found', `The checkpoint has no tensor ${name}.${what}`, { file, tensor: name });
      }
      const weight = transposed ? asMatrix(stored) : { source: stored };
      const [rows, cols] = weight.transposed ? [shape[1], shape[0]] : shape;
      const { source } = weight;
      if (source.rows !== rows || source.cols !== cols) {
        const message = `${name} is [${source.rows}, ${source.cols}] where config.json needs [${rows}, ${cols}].`;
        throw new LqError('unsupported-model', message, { file, tensor: name });
      }
      weights.push({ layer, kind, name, ...weight, ...(expert !== undefined && { expert }) });
    }
  };
  add(-1, outerWeights(config, naming, lookup));
  for (let layer = 0; layer < config.layers; layer++) {
    const within = `${naming.prefix}${naming.layers}.${layer}`;
    const { width = config.intermediate, routed = false } = config.layerTraits?.[layer] ?? {};
    const layout = routed ? layoutOf(names.experts, within, lookup) : undefined;
    add(layer, layerWeights(config, layer, within, width, sharedNames(names.modules, layout)));
    if (layout && config.experts) add(layer, expertWeights(config.experts, config.hidden, within, layout));
  }
  return weights;
}

function outerWeights(c: NativeLanguageModelConfig, naming: Naming, lookup: WeightLookup): Expected[] {
  const { width = c.hidden, positions = 0, types = 0, projectFirst = false } = c.embedding ?? {};
  const stream = projectFirst ? c.hidden : width;
  const head = c.headTransform ? width : c.hidden;
  const module = (kind: string): string => `${naming.prefix}${naming.modules[kind] ?? kind}`;
  const headName = (kind: string): string => {
    const candidates = naming.head[kind] ?? [];
    return candidates.find(name => lookup(name) !== undefined) ?? candidates[0] ?? kind;
  };
  const matrix = (kind: string, rows: number, cols: number): Expected => ({
    kind,
    name: `${module(kind)}.weight`,
    shape: [rows, cols],
  });
  const headNorm = ['head_norm', ...(biased(c) ? ['head_norm_bias'] : [])];
  const vectors = (kinds: readonly string[], size: number): Expected[] =>
    kinds.map(kind => ({ kind, name: headName(kind), shape: [1, size] }));
  return [
    matrix('embedding', c.vocab, width),
    ...(positions > 0 ? [matrix('positions', positions, stream)] : []),
    ...(types > 0 ? [matrix('types', types, stream)] : []),
    ...(c.embedding?.norm === true ? norm(c, 'embedding_norm', module('embedding_norm'), stream) : []),
    ...(width === c.hidden ? [] : [matrix('embedding_projection', c.hidden, width)]),
    ...(c.embedding?.projectionBias === true
      ? [
          {
            kind: 'embedding_projection_bias',
            name: `${module('embedding_projection')}.bias`,
            shape: [1, c.hidden] as const,
          },
        ]
      : []),
    ...(c.noLastNorm === true ? [] : norm(c, 'final_norm', module('final_norm'), c.hidden)),
    ...(c.headTransform
      ? [{ kind: 'head_dense', name: headName('head_dense'), shape: [head, c.hidden] as const }]
      : []),
    ...vectors(c.headTransform?.bias === true ? ['head_dense_bias'] : [], head),
    ...vectors(c.headTransform?.norm === true ? headNorm : [], head),
    ...vectors(c.headBias === true ? ['head_bias'] : [], c.vocab),
    ...(c.tiedEmbeddings ? [] : [{ kind: 'head', name: headName('head'), shape: [c.vocab, head] as const }]),
  ];
}

/** Whether norms have a bias. */
const biased = (c: NativeLanguageModelConfig): boolean => c.norm === 'layer' && c.normUnbiased !== true;

/** A norm's weight, and the bias of a layer norm. */
function norm(c: NativeLanguageModelConfig, kind: string, module: string, size: number): Expected[] {
  if (c.normBare === true) return [];
  const weight = { kind, name: `${module}.weight`, shape: [1, size] as const };
  return biased(c) ? [weight, { kind: `${kind}_bias`, name: `${module}.bias`, shape: [1, size] }] : [weight];
}

/** The layout whose router and experts the layer has, else one whose router it has, else the usual one, for the error that misses it. */
function layoutOf(layouts: readonly ExpertLayout[], prefix: string, lookup: WeightLookup): ExpertLayout | undefined {
  const has = (name: string): boolean => lookup(`${prefix}.${name}`) !== undefined;
  const routers = layouts.filter(({ router }) => has(`${router}.weight`));
  return routers.find(({ matrices }) => has(matrixName(matrices, 'down', 0))) ?? routers[0] ?? layouts[0];
}

/** Name within the layer of an expert's matrix. */
const matrixName = (matrices: ExpertMatrices, kind: 'gate' | 'up' | 'down', expert: number): string =>
  matrices.kind === 'separate'
    ? `${matrices[kind].replace('*', String(expert))}.weight`
    : `${kind === 'down' ? matrices.down : matrices.gateUp}[${expert}]`;

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
      expertMatrices(c, hidden, layout.matrices, expert).map((own): Expected => ({
        ...own,
        expert,
        name: inLayer(own.name),
      })),
    ).flat(),
  ];
}

/** Matrices and biases of an expert by their names within the layer. */
function expertMatrices(
  { intermediate, bias = false }: NativeExperts,
  hidden: number,
  matrices: ExpertMatrices,
  expert: number,
): Expected[] {
  const all = matrices.kind === 'together' ? matrices : undefined;
  const of = (kind: 'gate' | 'up' | 'down', rows: number, cols: number): Expected[] => {
    const as = all !== undefined && kind === 'up' ? 'gate_up' : kind;
    const name = matrixName(matrices, kind, expert);
    const biasName = all ? name.replace(/\[\d+\]$/, '_bias$&') : name.replace(/weight$/, 'bias');
    return [
      { kind: as, name, shape: [rows, cols], transposed: all?.transposed ?? false },
      ...(bias ? [{ kind: `${as}_bias`, name: biasName, shape: [1, rows] as const, transposed: false }] : []),
    ];
  };
  return [
    ...(all ? [] : of('gate', intermediate, hidden)),
    ...of('up', all ? 2 * intermediate : intermediate, hidden),
    ...of('down', hidden, intermediate),
  ];
}

function layerWeights(
  c: NativeLanguageModelConfig,
  layer: number,
  prefix: string,
  width: number,
  modules: Readonly<Record<string, string>>,
): Expected[] {
  const [q, kv] = [c.heads * c.headDim, c.kvHeads * c.headDim];
  const module = (kind: string): string => `${prefix}.${modules[kind] ?? LLAMA_MODULES[kind]!}`;
  const linear = (kind: string, rows: number, cols: number, bias: boolean): Expected[] => [
    { kind, name: `${module(kind)}.weight`, shape: [rows, cols] },
    ...(bias ? [{ kind: `${kind}_bias`, name: `${module(kind)}.bias`, shape: [1, rows] as const }] : []),
  ];
  const norms = (kinds: readonly string[]): Expected[] => kinds.flatMap(kind => norm(c, kind, module(kind), c.hidden));
  const places = c.normPlaces ?? 'before';
  return [
    ...(places === 'before' || places === 'both'
      ? norms([
          ...(c.noFirstNorm === true && layer === 0 ? [] : ['input_norm']),
          ...(c.sharedNorm === true ? [] : ['post_attention_norm']),
        ])
      : []),
    ...(places === 'before' ? [] : norms(['attention_output_norm', 'mlp_output_norm'])),
    ...(c.fusedQkv === undefined
      ? [
          ...linear('q', q, c.hidden, c.attentionBias),
          ...linear('k', kv, c.hidden, c.attentionBias),
          ...linear('v', kv, c.hidden, c.attentionBias),
        ]
      : linear('qkv', q + 2 * kv, c.hidden, c.attentionBias)),
    ...linear('o', c.hidden, q, c.outputBias),
    ...(c.sinks === true ? [{ kind: 'sinks', name: module('sinks'), shape: [1, c.heads] as const }] : []),
    ...(c.qkNorm && c.headNorm !== 'bare'
      ? [...headNorm(c, 'q_norm', module, c.heads), ...headNorm(c, 'k_norm', module, c.kvHeads)]
      : []),
    ...(width === 0 ? [] : mlpWeights(c, width, linear)),
  ];
}

/** The matrices of an MLP as wide as this. */
function mlpWeights(
  c: NativeLanguageModelConfig,
  width: number,
  linear: (kind: string, rows: number, cols: number, bias: boolean) => Expected[],
): Expected[] {
  const fused = c.fusedGateUp !== undefined;
  return [
    ...(c.plainMlp === true || fused ? [] : linear('gate', width, c.hidden, c.mlpBias)),
    ...(fused ? linear('gate_up', 2 * width, c.hidden, c.mlpBias) : linear('up', width, c.hidden, c.mlpBias)),
    ...linear('down', c.hidden, width, c.mlpBias),
  ];
}

/** The norm of queries or keys. */
function headNorm(
  c: NativeLanguageModelConfig,
  kind: string,
  module: (kind: string) => string,
  heads: number,
): Expected[] {
  const together = c.headNorm === 'together';
  const shape =
    c.headNorm === 'layer_own' ? ([heads, c.headDim] as const) : ([1, (together ? heads : 1) * c.headDim] as const);
  return [
    { kind, name: `${module(kind)}.weight`, shape },
    ...(c.headNorm === 'layer' ? [{ kind: `${kind}_bias`, name: `${module(kind)}.bias`, shape }] : []),
  ];
}
