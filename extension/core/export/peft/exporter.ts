/**
 * A low-rank adapter of peft on a dense base, to go on training from (LQ-LoRA, arXiv 2311.12023, section 3): of every matrix
 * W = Q + L1 L2 the base holds Q, and the adapter (peft 0.21, tuners/lora; its update is alpha / r B A)
 *   base_model.model.<module>.lora_A.weight [r, in] = L2,   .lora_B.weight [out, r] = L1,   alpha = r
 * both in fp32. Ranks that differ are in rank_pattern and alpha_pattern.
 */
import { serializeHeader, type TensorPlace } from '../../checkpoint/serialize';
import { callNative, type PipelineContext } from '../../context';
import { joinPath } from '../../files/paths';
import { overLanes } from '../../lanes';
import type { DenseSource } from '../../native';
import type { PackedMatrix } from '../../packed/reader';
import type { Output } from '../../storage/output';
import { denseWeights } from '../dense/exporter';
import type { ExportContext, Exported, Exporter } from '../exporter';
import { writeFolder } from '../folder';
import { asWeight, lowRankMatrices, quantizedAlone, requireLowRank } from '../low-rank';
import { codeBlocks, type Lines } from '../readme';

const BASE = 'base';
const ADAPTER = 'adapter_model.safetensors';

export const peft: Exporter = {
  id: 'peft',
  label: 'PEFT adapter and base',
  description: 'The low-rank part as an adapter of peft, beside a dense base: to go on training from.',
  dtypes: true,
  accepts: index => index.tensors.length > 0 && lowRankMatrices(index).some(isLinear),
  run: exportAdapter,
};

/** Linear modules of their own. */
const isLinear = ({ name, transposed }: PackedMatrix): boolean => name.endsWith('.weight') && !transposed;

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
  const matrices = requireLowRank(index, isLinear, 'is no linear module of its own: an adapter of peft has no form');
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
      adapted: { base: BASE, file: ADAPTER, matrices: [...names] },
    }),
  });
}

const moduleOf = (name: string): string => name.replace(/\.weight$/, '');
const factorName = (name: string, factor: 'A' | 'B'): string =>
  `base_model.model.${moduleOf(name)}.lora_${factor}.weight`;

const factorSpecs = ({ name, shape: [rows, cols], option: { rank } }: PackedMatrix) => [
  { name: factorName(name, 'A'), dtype: 'F32' as const, shape: [rank, cols] },
  { name: factorName(name, 'B'), dtype: 'F32' as const, shape: [rows, rank] },
];

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
