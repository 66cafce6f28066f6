/**
 * A low-rank adapter of llama.cpp beside its base (src/llama-adapter.cpp): of every matrix W = Q + L1 L2 the base holds Q, and
 * NAME-lora.gguf
 *   <tensor>.lora_a [r, in] = L2,   <tensor>.lora_b [out, r] = L1
 * both in fp32, added as alpha / r B A. Where ranks differ alpha is 0, which llama.cpp takes for no scale at all.
 */
import { serializeGguf, type GgufField } from '../../checkpoint/gguf/serialize';
import { callNative } from '../../context';
import { joinPath } from '../../files/paths';
import { overLanes } from '../../lanes';
import type { DenseSource } from '../../native';
import type { PackedMatrix } from '../../packed/reader';
import type { Output } from '../../storage/output';
import type { ExportContext, Exported, Exporter } from '../exporter';
import { writeFolder } from '../folder';
import { asWeight, lowRankMatrices, quantizedAlone, requireLowRank } from '../low-rank';
import { codeBlocks, type Lines } from '../readme';
import { f32, text } from '../../checkpoint/gguf/architectures/architecture';
import { FLOAT_TYPES, floatType } from './exporter';
import { ggufModel, type GgufModel, type GgufTensor } from './layout';
import { ggufFiles, ggufStem, type GgufRecord } from './write';

const BASE = 'base';

export const ggufLora: Exporter = {
  id: 'gguf-lora',
  label: 'GGUF and LoRA',
  description: 'The low-rank part as an adapter of llama.cpp, beside a GGUF file of the rest in a float type.',
  dtypes: true,
  splits: true,
  accepts: index => index.tensors.length > 0 && index.config !== undefined && lowRankMatrices(index).length > 0,
  run: exportLora,
};

/** A matrix with its place in the base, by which its rows are ordered. */
interface Adapted {
  readonly matrix: PackedMatrix;
  readonly tensor: GgufTensor;
}

async function exportLora({ pipeline, index, out, overwrite, dtype, splitSize }: ExportContext): Promise<Exported> {
  const model = await ggufModel(pipeline.files, index);
  const whole = new Set(model.weights.filter(({ slice }) => slice === undefined).map(({ name }) => name));
  const matrices = requireLowRank(index, ({ name }) => whole.has(name), 'has no tensor of its own in GGUF');
  const type = dtype === undefined ? floatType(index) : FLOAT_TYPES[dtype];
  const types = new Map(model.weights.map(({ name }) => [name, type] as const));
  for (const note of model.notes) pipeline.log('warning', note);
  const base = ggufFiles(pipeline, {
    ...{ model, types, within: `${BASE}/`, sourceOf: quantizedAlone },
    ...(splitSize !== undefined && { splitSize }),
  });
  const tensors = new Map(model.layout(types).weights.map(tensor => [tensor.name, tensor]));
  const adapted = matrices.map(matrix => ({ matrix, tensor: tensors.get(matrix.name)! }));
  const header = serializeGguf(adapterFields(model, matrices), adapted.flatMap(factorSpecs));
  const file = `${ggufStem(index.label)}-lora.gguf`;
  const load = loadLines(base.files[0]!.file, file, index.label);
  const logical = new Map(model.weights.map(weight => [weight.name, model.written(weight)]));
  return writeFolder<GgufRecord>(pipeline, {
    ...{ index, out, overwrite },
    fingerprint: [ggufLora.id, type],
    shared: false,
    items: base.items + matrices.length,
    files: [...base.files, { file, bytes: header.fileBytes, header: header.bytes }],
    async fill(output) {
      await base.fill(output);
      await writeFactors(pipeline, adapted, header.tensors, file, output);
    },
    texts: new Map([
      ['Modelfile', `FROM ./${base.files[0]!.file}\nADAPTER ./${file}\n`],
      ['README.md', readme(index.label, file, load)],
    ]),
    side: 'legal',
    meant: () => ({
      format: ggufLora.label,
      load,
      stored: base.stored,
      squaredErrors: new Map(),
      adapted: { base: BASE, file, matrices: matrices.map(({ name }) => logical.get(name)!) },
    }),
  });
}

function adapterFields({ architecture, index }: GgufModel, matrices: readonly PackedMatrix[]): Map<string, GgufField> {
  const ranks = new Set(matrices.map(({ option }) => option.rank));
  return new Map([
    ['general.architecture', text(architecture)],
    ['general.type', text('adapter')],
    ['general.name', text(`${index.label}, low-rank part`)],
    ['adapter.type', text('lora')],
    ['adapter.lora.alpha', f32(ranks.size === 1 ? [...ranks][0]! : 0)],
  ]);
}

const factorSpecs = ({ matrix: { shape, option }, tensor: { place } }: Adapted) => [
  { name: `${place.name}.lora_a`, type: 'F32' as const, shape: [option.rank, shape[1]] },
  { name: `${place.name}.lora_b`, type: 'F32' as const, shape: [shape[0], option.rank] },
];

async function writeFactors(
  context: ExportContext['pipeline'],
  adapted: readonly Adapted[],
  places: ReturnType<typeof serializeGguf>['tensors'],
  file: string,
  output: Output<GgufRecord>,
): Promise<void> {
  const placeOf = new Map(places.map(place => [place.name, place]));
  const path = joinPath(output.folder, file);
  await overLanes(context, {
    stage: 'export',
    items: adapted.filter(({ matrix }) => !output.done.has(`${matrix.name} factors`)),
    nameOf: ({ matrix }) => matrix.name,
    weightOf: ({ matrix: { shape, option } }) => option.rank * (shape[0] + shape[1]),
    async work(lane, { matrix: { name, source, parts }, tensor }) {
      await output.requireHeld();
      const where = { file: parts[0]!.file, tensor: name };
      for (const [factor, from] of [
        ['lora_a', source.l2!],
        ['lora_b', source.l1!],
      ] as const) {
        const { offset, bytes } = placeOf.get(`${tensor.place.name}.${factor}`)!;
        const { rows, cols } = from;
        const to: DenseSource = { kind: 'dense', path, offset, dtype: 'F32', rows, cols };
        await callNative(lane, where, control => lane.native.convert(lane.device, asWeight(from), to, control));
        const { order } = tensor;
        // The rows of B are those of the matrix.
        if (factor === 'lora_b' && order !== undefined)
          await callNative(lane, where, control => lane.native.orderRows({ path, offset, bytes }, order, control));
      }
      await output.markDone(`${name} factors`, {}, [file]);
    },
  });
}

const loadLines = (base: string, file: string, label: string): Lines[] => [
  {
    language: 'sh',
    lines: [
      `llama-cli -m ${base} --lora ${file}   # llama.cpp`,
      `ollama create ${ggufStem(label).toLowerCase()} -f Modelfile   # Ollama`,
    ],
  },
];

const readme = (label: string, file: string, load: readonly Lines[]): string =>
  [
    `# ${label}, GGUF and LoRA`,
    '',
    `Written by LQ Studio from ${label}: \`${BASE}\` holds the quantised weights in a float type, ${file} the low-rank part that`,
    'was found with them. Run from this folder:',
    '',
    ...codeBlocks(load),
  ].join('\n');
