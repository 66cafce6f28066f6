/** What families of mixture-of-experts models share: how their layers are routed, and where the tensors are. */
import type { NativeExperts } from '../../native';
import type { ConfigReader } from '../config-reader';

/** Experts a layer; a damaged config could ask for any number. */
export const MOST_EXPERTS = 4096;

/** The experts of a family. */
export interface ExpertFamily {
  read(config: ConfigReader, layers: number): ExpertLayers;
  /** Ways to store them, likeliest first. */
  readonly layouts: readonly ExpertLayout[];
}

export interface ExpertLayers {
  readonly experts: NativeExperts;
  /** By layer: whether it has experts, and the width of the MLP that all tokens go through (0: none). */
  readonly routed: readonly boolean[];
  readonly widths: readonly number[];
}

/** Names of tensors within a layer, for one way to store experts. A checkpoint has a layout when it has its router. */
export interface ExpertLayout {
  /** Without `.weight`. */
  readonly router: string;
  /** The bias of scores that choices are made by, whole. */
  readonly correction?: string;
  /** What stands before `gate_proj.weight` of the shared expert. */
  readonly shared?: string;
  readonly sharedGate?: string;
  readonly matrices: ExpertMatrices;
}

export type ExpertMatrices =
  /** Modules of an expert's matrices, by kind of weight; `*` is its number. */
  | { readonly kind: 'separate'; readonly gate: string; readonly up: string; readonly down: string }
  /** Tensors [experts, rows, cols] that hold those of all experts, gate and up as one. */
  | {
      readonly kind: 'together';
      readonly gateUp: string;
      readonly down: string;
      /** Rows of gate and up: one after the other, or in turn. */
      readonly order: 'stacked' | 'interleaved';
      /** Each matrix is [in, out]. */
      readonly transposed: boolean;
    };

/** Tensors of all experts, as transformers 5 has them in memory and saves some families. */
export const together = (
  module: string,
  { order = 'stacked', transposed = false }: { order?: 'stacked' | 'interleaved'; transposed?: boolean } = {},
): ExpertMatrices => ({
  kind: 'together',
  gateUp: `${module}.gate_up_proj`,
  down: `${module}.down_proj`,
  order,
  transposed,
});

/** A router with either way to store experts. */
export const eitherWay = (
  layout: Omit<ExpertLayout, 'matrices'>,
  module: string,
  separately = separate,
): readonly ExpertLayout[] => [
  { ...layout, matrices: separately(module) },
  { ...layout, matrices: together(module) },
];

/** Ways to store experts apart: those there are, or where all are together, by the module that holds them. */
export function separateExperts(layouts: readonly ExpertLayout[]): readonly ExpertLayout[] {
  const apart = layouts.filter(({ matrices }) => matrices.kind === 'separate');
  if (apart.length > 0) return apart;
  return layouts.flatMap(layout => {
    const [, module] =
      layout.matrices.kind === 'together' ? (/^(.*)\.gate_up_proj$/.exec(layout.matrices.gateUp) ?? []) : [];
    return module === undefined ? [] : [{ ...layout, matrices: separate(module) }];
  });
}

/** Every expert a module of its own, as transformers saves most families. */
export const separate = (module: string): ExpertMatrices => ({
  kind: 'separate',
  gate: `${module}.*.gate_proj`,
  up: `${module}.*.up_proj`,
  down: `${module}.*.down_proj`,
});

/** The same with Mixtral's names. */
export const numbered = (module: string): ExpertMatrices => ({
  kind: 'separate',
  gate: `${module}.*.w1`,
  up: `${module}.*.w3`,
  down: `${module}.*.w2`,
});

/** Experts in layers that are not listed as dense, each `step`th (Qwen2-MoE, Qwen3-MoE). */
export function routedByStep(config: ConfigReader, layers: number, experts: number): boolean[] {
  const dense = new Set(config.list('mlp_only_layers') ?? []);
  const step = config.count('decoder_sparse_step', 1);
  return Array.from({ length: layers }, (_, i) => !dense.has(i) && experts > 0 && (i + 1) % step === 0);
}

/**
 * The fields that most routers have.
 * @throws LqError 'unsupported-model' for more experts a token than there are.
 */
export function expertCounts(
  config: ConfigReader,
  keys: { count: readonly string[]; topK: string; defaults: readonly [count: number, topK: number] },
): Pick<NativeExperts, 'count' | 'topK'> {
  const key = keys.count.find(name => config.has(name)) ?? keys.count[0]!;
  const count = config.count(key, keys.defaults[0]);
  const topK = config.count(keys.topK, keys.defaults[1]);
  if (count > MOST_EXPERTS)
    config.refuse(`${count} experts (${key}) are more than the ${MOST_EXPERTS} that can be run`);
  if (topK > count) config.refuse(`${topK} experts a token (${keys.topK}) of ${count} (${key}) cannot be chosen`);
  return { count, topK };
}
