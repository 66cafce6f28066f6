/**
 * Names of tensors in GGUF and in transformers: a tensor of either is a kind of weight in a layer, which the architecture
 * (architectures/names.ts) and the family (evaluation/families) each have a name for.
 */
import type { FamilyNames } from '../../evaluation/families/family';
import { MOST_EXPERTS, separateExperts } from '../../evaluation/families/experts';
import { LLAMA_MODULES, LLAMA_OUTER } from '../../evaluation/families/names';
import { FAMILIES, familyNames } from '../../evaluation/families/registry';
import { sliceName, slicesOf } from '../slices';
import type { TensorInfo } from '../types';
import type { Architecture } from './architectures/architecture';
import { isNorm, placeOfTensor, tensorName, type StoredPlace } from './architectures/names';
import { architectureNamed } from './architectures/registry';
import type { GgufMetadata } from './values';

/** The `model_type` of transformers that a file of an architecture is, or undefined. @param routed whether it has experts */
export function modelTypeOf({ models }: Architecture, routed: boolean): string | undefined {
  return models.find(model => !routed || FAMILIES.get(model)?.experts !== undefined);
}

/** Names of the family as a file has its tensors: matrices as they are, and experts apart. */
export function ggufFamilyNames(modelType: unknown): FamilyNames {
  const names = familyNames({ model_type: modelType });
  return { ...names, transposed: false, experts: separateExperts(names.experts) };
}

/** What transformers calls a kind of weight. @param expert of a matrix of experts, its number */
function familyName(
  names: FamilyNames,
  { layer, kind, of }: StoredPlace,
  expert: number | undefined,
): string | undefined {
  const [, stem = kind, bias] = /^(.+?)(_bias)?$/.exec(kind) ?? [];
  const leaf = bias ? 'bias' : 'weight';
  const { prefixes, layers, modules, head } = outerOf(names);
  if (layer < 0) {
    if (stem === 'head') return bias ? head['head_bias']?.[0] : head['head']?.[0];
    return modules[stem] && `${prefixes[0]}${modules[stem]}.${leaf}`;
  }
  const within = `${prefixes[0]}${layers}.${layer}.`;
  const [layout] = names.experts;
  if (stem === 'router_correction') return layout?.correction && `${within}${layout.correction}`;
  if (stem === 'sinks') return names.modules[stem] && `${within}${names.modules[stem]}`;
  const own = (): string | undefined => {
    if (stem === 'router') return layout?.router;
    if (stem === 'shared_gate') return layout?.sharedGate;
    if (of === 'shared' && layout?.shared !== undefined) return `${layout.shared}.${stem}_proj`;
    if (of !== 'experts') return names.modules[stem] ?? LLAMA_MODULES[stem];
    if (layout?.matrices.kind !== 'separate' || expert === undefined) return undefined;
    return layout.matrices[stem as 'gate' | 'up' | 'down'].replace('*', String(expert));
  };
  const module = own();
  return module && `${within}${module}.${leaf}`;
}

const outerOf = ({ outer }: FamilyNames) => ({
  prefixes: outer.prefixes ?? LLAMA_OUTER.prefixes,
  layers: outer.layers ?? LLAMA_OUTER.layers,
  modules: { ...LLAMA_OUTER.modules, ...outer.modules },
  head: { ...LLAMA_OUTER.head, ...outer.head },
});

/** What a tensor of a file, or an expert's slice of it, is called here: as in transformers where the architecture is known. */
export function logicalName(architecture: unknown, name: string): string {
  const known = architectureNamed(architecture);
  const { whole = name, at } = sliceName(name) ?? {};
  const place = known && placeOfTensor(known, whole);
  if (!known || !place) return name;
  const routed = place.of !== undefined || /^(?:router|shared_gate)/.test(place.kind);
  return familyName(ggufFamilyNames(modelTypeOf(known, routed)), place, at) ?? name;
}

/** The tensors of a file with those of experts apart; of more than there can be they stay together. */
export function expertsApart(tensors: readonly TensorInfo[], metadata: GgufMetadata): readonly TensorInfo[] {
  const known = architectureNamed(metadata.get('general.architecture'));
  if (known?.experts === undefined) return tensors;
  return tensors.flatMap(tensor =>
    (tensor.shape[0] ?? 0) <= MOST_EXPERTS && placeOfTensor(known, tensor.name)?.of === 'experts'
      ? slicesOf(tensor)
      : [tensor],
  );
}

/** The name GGUF gives a tensor of a family, or undefined for one that it has no name for by itself. */
export function ggufName(name: string, { models, ...architecture } = architectureNamed('llama')!): string | undefined {
  const names = ggufFamilyNames(models[0]);
  const { prefixes, layers, modules, head } = outerOf(names);
  const [, leaf] = /\.(weight|bias)$/.exec(name) ?? [];
  if (leaf === undefined) return undefined;
  const kindOf = (table: Readonly<Record<string, string>>, module: string): string | undefined =>
    Object.keys(table).find(kind => table[kind] === module);
  const stored = (layer: number, kind: string | undefined): string | undefined =>
    kind && tensorName({ models, ...architecture }, { layer, kind: leaf === 'bias' ? `${kind}_bias` : kind }, false);
  if (head['head']?.includes(name)) return stored(-1, 'head');
  for (const prefix of prefixes) {
    if (!name.startsWith(prefix)) continue;
    const module = name.slice(prefix.length, -leaf.length - 1);
    const [, layer, within] = new RegExp(`^${layers}\\.(\\d{1,9})\\.(.+)$`).exec(module) ?? [];
    const found =
      within === undefined
        ? stored(-1, kindOf(modules, module))
        : stored(Number(layer), kindOf({ ...LLAMA_MODULES, ...names.modules }, within));
    if (found !== undefined) return found;
  }
  return undefined;
}

/** What is in a norm's stored weights beyond the network's own. */
export const storedOffset = (architecture: Architecture | undefined, name: string): number => {
  const { normOffset = 0 } = architecture ?? {};
  return normOffset !== 0 && isNorm(placeOfTensor(architecture!, name)?.kind ?? '') ? normOffset : 0;
};
