/**
 * A low-rank adapter of peft on a dense base, to go on training from (LQ-LoRA, arXiv 2311.12023, section 3): of every matrix
 * W = Q + L1 L2 the base holds Q, and the adapter (peft 0.21, tuners/lora; its update is alpha / r B A)
 *   base_model.model.<module>.lora_A.weight [r, in] = L2,   .lora_B.weight [out, r] = L1,   alpha = r
 * both in fp32. Ranks that differ are in rank_pattern and alpha_pattern.
 */
import { serializeHeader, type TensorPlace } from '../../checkpoint/serialize';
import type { CheckpointIndex } from '../../checkpoint/types';
import { callNative, type PipelineContext } from '../../context';
import { LqError } from '../../errors';
import { joinPath } from '../../files/paths';
import { overLanes } from '../../lanes';
import type { DenseSource, FactorSource, LqSource, WeightSource } from '../../native';
import { readPacked, type PackedMatrix } from '../../packed/reader';
import type { Output } from '../../storage/output';
import { denseWeights } from '../dense/exporter';
import type { ExportContext, Exported, Exporter } from '../exporter';
import { writeFolder } from '../folder';
import { codeBlocks, type Lines } from '../readme';

const BASE = 'base';
const ADAPTER = 'adapter_model.safetensors';

export const peft: Exporter = {
  id: 'peft',
  label: 'PEFT adapter and base',
  description: 'The low-rank part as an adapter of peft, beside a dense base: to go on training from.',
  dtypes: true,
  accepts: index => index.tensors.length > 0 && adapted(index).length > 0,
  run: exportAdapter,
};

/** Matrices with a low-rank part that belong to linear modules. */
const adapted = (index: CheckpointIndex): PackedMatrix[] =>
  [...readPacked(index).values()].filter(
    ({ name, option, transposed }) => option.rank > 0 && name.endsWith('.weight') && !transposed,
  );

const load: readonly Lines[] = [
  {
    language: 'python',
    lines: [
      `base = AutoModelForCausalLM.from_pretrained('${BASE}')  # transformers`,
      "model = PeftModel.from_pretrained(base, '.', is_trainable=True)  # peft",
    ],
  },
];

async function exportAdapter({ pipeline, index, out, overwrite, dtype }: ExportContext): Promise<Exported> {
  const matrices = requireAdapted(index);
  const header = serializeHeader(matrices.flatMap(factorSpecs), { format: 'pt' });
  const names = new Set(matrices.map(({ name }) => name));
  const base = await denseWeights(pipeline, index, {
    within: `${BASE}/`,
    ...(dtype && { dtype }),
    sourceOf: quantizedAlone,
  });
  return writeFolder<null>(pipeline, {
    ...{ index, out, overwrite },
    fingerprint: [peft.id, dtype],
    shared: false,
    items: base.items + matrices.length,
    files: [...base.files, { file: ADAPTER, bytes: header.fileBytes, header: header.bytes }],
    async fill(output) {
      await base.fill(output);
      await writeFactors(pipeline, matrices, header.tensors, output);
    },
    texts: new Map([
      ...base.texts,
      ['adapter_config.json', `${JSON.stringify(adapterConfig(matrices), undefined, 2)}\n`],
      [
        'README.md',
        [
          `# ${index.label}, adapter and base`,
          '',
          `Written by LQ Studio from ${index.label}: \`${BASE}\` is a dense model of the quantised weights, the adapter is the low-rank`,
          'part that was found with them. Run from this folder:',
          '',
          ...codeBlocks(load),
        ].join('\n'),
      ],
    ]),
    sideFolder: BASE,
    meant: () => ({
      format: peft.label,
      load,
      stored: base.stored,
      squaredErrors: new Map(),
      adapted: { base: BASE, matrices: [...names] },
    }),
  });
}

/** @throws LqError 'usage' when a low-rank part would be lost, or there is none. */
function requireAdapted(index: CheckpointIndex): PackedMatrix[] {
  const found = adapted(index);
  const where = { file: index.file };
  if (found.length === 0)
    throw new LqError('usage', `${index.label} has no low-rank parts; compress it with --method lq-lora.`, where);
  const kept = new Set(found.map(({ name }) => name));
  for (const { name, option } of readPacked(index).values())
    if (option.rank > 0 && !kept.has(name))
      throw new LqError(
        'usage',
        `${name} is no linear module of its own: an adapter of peft has no form for its low-rank part.`,
        {
          ...where,
          tensor: name,
        },
      );
  return found;
}

const moduleOf = (name: string): string => name.replace(/\.weight$/, '');
const factorName = (name: string, factor: 'A' | 'B'): string =>
  `base_model.model.${moduleOf(name)}.lora_${factor}.weight`;

const factorSpecs = ({ name, shape: [rows, cols], option: { rank } }: PackedMatrix) => [
  { name: factorName(name, 'A'), dtype: 'F32' as const, shape: [rank, cols] },
  { name: factorName(name, 'B'), dtype: 'F32' as const, shape: [rows, rank] },
];

/** A packed matrix without its low-rank part. */
function quantizedAlone(source: WeightSource): WeightSource {
  if (source.kind === 'lq') {
    const { l1: _l1, l2: _l2, ...own } = source;
    return own;
  }
  if (source.kind !== 'encoded') return source;
  const { l1: _l1, l2: _l2, option, ...own } = source;
  return { ...own, option: { ...option, rank: 0 } };
}

async function writeFactors(
  context: PipelineContext,
  matrices: readonly PackedMatrix[],
  places: readonly TensorPlace[],
  output: Output<null>,
): Promise<void> {
  const placeOf = new Map(places.map(place => [place.name, place]));
  const path = joinPath(output.folder, ADAPTER);
  await overLanes(context, {
    stage: 'export',
    items: matrices.filter(({ name }) => !output.done.has(`${name} factors`)),
    nameOf: ({ name }) => name,
    weightOf: ({ shape, option }) => option.rank * (shape[0] + shape[1]),
    async work(lane, { name, source, parts }) {
      await output.requireHeld();
      for (const [factor, from] of [
        ['A', source.l2!],
        ['B', source.l1!],
      ] as const) {
        const { offset } = placeOf.get(factorName(name, factor))!;
        const { rows, cols } = from;
        const to: DenseSource = { kind: 'dense', path, offset, dtype: 'F32', rows, cols };
        await callNative(lane, { file: parts[0]!.file, tensor: name }, control =>
          lane.native.convert(lane.device, asWeight(from), to, control),
        );
      }
      await output.markDone(`${name} factors`, null, [ADAPTER]);
    },
  });
}

/** A factor is stored dense or as a quantised matrix of its own. */
function asWeight(factor: FactorSource): DenseSource | LqSource {
  if (factor.kind === 'dense') return factor;
  const { rows, cols, packed } = factor;
  return { kind: 'lq', rows, cols, quantized: packed };
}

/** With alpha = r, so that the update is B A as it is. "pissa" and its like would change the base when it is loaded. */
function adapterConfig(matrices: readonly PackedMatrix[]): Record<string, unknown> {
  const ranks = matrices.map(({ option }) => option.rank);
  const rank = Math.max(...ranks);
  const others = Object.fromEntries(
    matrices.flatMap(({ name, option }) => (option.rank === rank ? [] : [[moduleOf(name), option.rank]])),
  );
  return {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: BASE,
    r: rank,
    lora_alpha: rank,
    rank_pattern: others,
    alpha_pattern: others,
    target_modules: matrices.map(({ name }) => moduleOf(name)),
    lora_dropout: 0,
    bias: 'none',
    fan_in_fan_out: false,
    use_rslora: false,
    init_lora_weights: true,
    inference_mode: true,
  };
}
