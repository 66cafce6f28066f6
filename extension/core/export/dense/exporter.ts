/**
 * Dense safetensors, which any loader of Hugging Face folders reads: in the source's own dtype, or in one of three. Nothing is
 * saved on disk: it is for checking fidelity and for tools that know no packed format. Whatever this program decodes is
 * written out: its own format, GGUF, symmetric integers; what another tool packed otherwise is refused.
 */
import { ROPE_FREQS } from '../../checkpoint/gguf/rope';
import { isWholeConfig } from '../../checkpoint/gguf/config';
import { ggufNetwork } from '../../checkpoint/gguf/network';
import { serializeHeader, type TensorSpec } from '../../checkpoint/serialize';
import { indexFileOf, shardName } from '../../checkpoint/shards';
import { joinSlices, slicesOf } from '../../checkpoint/slices';
import { elementTensor } from '../../checkpoint/sources';
import type { CheckpointIndex, LogicalTensor } from '../../checkpoint/types';
import { callNative, type PipelineContext } from '../../context';
import { isDtype, type Dtype } from '../../dtypes';
import { LqError } from '../../errors';
import { joinPath } from '../../files/paths';
import { baseName } from '../../format';
import { overLanes } from '../../lanes';
import { logicalTensors } from '../../logical/logical';
import { weightLookup } from '../../logical/lookup';
import type { DenseSource, WeightSource } from '../../native';
import { unmarkConfig } from '../../packed/config';
import { aligned, denseFile } from '../../packed/format';
import { readPacked } from '../../packed/reader';
import { copyTensors } from '../../storage/copy';
import type { Output } from '../../storage/output';
import type { FloatType } from '../../requests/requests';
import type { ExportContext, Exported, Exporter } from '../exporter';
import { writeFolder, type FolderJob } from '../folder';
import { storedModel, withStored, type StoredModel } from '../loads/stored';
import { codeBlocks } from '../readme';
import { indexText } from '../safetensors/folder';

/** Journal entry of the tensors that are copied. */
const KEPT = '*kept*';
const FLOATS: ReadonlySet<string> = new Set<Dtype>(['F32', 'F16', 'BF16']);
const DTYPES = {
  bf16: { dtype: 'BF16', torch: 'bfloat16' },
  fp16: { dtype: 'F16', torch: 'float16' },
  fp32: { dtype: 'F32', torch: 'float32' },
} as const satisfies Readonly<Record<FloatType, { dtype: Dtype; torch: string }>>;
/** Halfway from the largest of F16 to what would follow: from there on nothing is near. */
const F16_LIMIT = 65520;

export const dense: Exporter = {
  id: 'dense',
  label: 'Dense safetensors',
  description: 'Every weight in a float type, for any loader. As large as the original.',
  dtypes: true,
  accepts: index => faultOf(index) === undefined,
  run: exportDense,
};

/** A weight that is computed and rounded, not copied. */
interface Rebuilt extends TensorSpec {
  readonly source: WeightSource;
  /** Whether it stands for a weight of a wider range than it is written in. */
  readonly narrowed: boolean;
  /** Of the file its first part is in. */
  readonly file: string;
  readonly parts: LogicalTensor['parts'];
}

interface Shard {
  readonly file: string;
  readonly bytes: number;
  readonly header: Uint8Array;
  readonly tensors: ReturnType<typeof serializeHeader>['tensors'];
  /** With tensors of several matrices as those. */
  readonly places: ReturnType<typeof serializeHeader>['tensors'];
}

async function exportDense({ pipeline, index, out, overwrite, dtype }: ExportContext): Promise<Exported> {
  const weights = await denseWeights(pipeline, index, { ...(dtype && { dtype }) });
  const made = await writeFolder<null>(pipeline, {
    ...{ index, out, overwrite },
    fingerprint: [dense.id, dtype],
    shared: false,
    items: weights.items,
    files: weights.files,
    fill: weights.fill,
    texts: new Map([...weights.texts, ['README.md', readme(index, dtype)]]),
    meant: () => ({
      format: dtype === undefined ? dense.label : `${dense.label}, ${DTYPES[dtype].dtype}`,
      load: loadLines(index),
      stored: weights.stored,
      squaredErrors: new Map(),
    }),
  });
  return { ...made, bytes: weights.tensorBytes };
}

/** A dense folder's files and how they are filled, for one that may lie within another folder. */
export interface DenseWeights extends Pick<FolderJob<null>, 'files' | 'texts' | 'fill' | 'items'> {
  readonly stored: StoredModel;
  readonly tensorBytes: number;
}

/**
 * @param options.within a subfolder, ending with a slash
 * @param options.sourceOf another source of a weight that is computed
 * @throws LqError for what has no dense form, by name.
 */
export async function denseWeights(
  context: PipelineContext,
  index: CheckpointIndex,
  {
    dtype,
    within = '',
    sourceOf = source => source,
  }: { dtype?: FloatType; within?: string; sourceOf?: (source: WeightSource) => WeightSource },
): Promise<DenseWeights> {
  const fault = faultOf(index);
  if (fault) throw fault;
  const rebuilt = new Map(
    rebuiltOf(index, dtype).map(weight => [weight.name, { ...weight, source: sourceOf(weight.source) }]),
  );
  const shards = shardsOf(index, rebuilt);
  const changed = new Map(
    [...rebuilt.values()].map(weight => [weight.name, { format: 'dense', dtype: weight.dtype }] as const),
  );
  const files = shards.map(shard => ({ ...shard, file: `${within}${shard.file}` }));
  const texts = await textsOf(context, index, shards, rebuilt, dtype);
  return {
    files,
    texts: new Map([...texts].map(([name, text]) => [`${within}${name}`, text])),
    fill: output => fill(context, index, files, rebuilt, output),
    items: rebuilt.size + 1,
    stored: withoutGguf(withStored(storedModel(index), changed)),
    tensorBytes: shards.reduce((sum, { tensors }) => tensors.reduce((own, { bytes }) => own + bytes, sum), 0),
  };
}

/** The file's own names and keys are those of transformers already. */
const withoutGguf = (model: StoredModel): StoredModel => ({
  ...model,
  container: 'safetensors',
  weights: model.weights.filter(({ name }) => model.container !== 'gguf' || name !== ROPE_FREQS),
});

const loadLines = ({ gguf, file }: CheckpointIndex): Exported['delivered']['load'] => [
  {
    language: 'python',
    lines: [
      "AutoModelForCausalLM.from_pretrained('.')  # transformers",
      ...(gguf
        ? [
            `AutoTokenizer.from_pretrained('PATH', gguf_file='${baseName(file)}')  # the tokenizer stays in the GGUF file`,
          ]
        : []),
    ],
  },
];

/** Weights that have to be computed: packed ones, and those of another float type than asked for. */
function rebuiltOf(index: CheckpointIndex, dtype: FloatType | undefined): Rebuilt[] {
  const lookup = weightLookup(index);
  const packed = readPacked(index);
  const asked = dtype && DTYPES[dtype].dtype;
  return logicalTensors(index).flatMap((weight): Rebuilt[] => {
    const { name, shape, parts } = weight;
    if (index.gguf && name === ROPE_FREQS) return [];
    const own = packed.get(name)?.dtype ?? floatOf(weight);
    const to = asked !== undefined && FLOATS.has(own) ? asked : own;
    if (weight.format === 'dense' && to === own) return [];
    const found = [...(packed.get(name)?.parts ?? parts)];
    return [
      {
        name,
        shape,
        dtype: to,
        source: lookup(name)!,
        narrowed: to === 'F16' && own !== 'F16',
        file: found[0]!.file,
        parts: found,
      },
    ];
  });
}

/** The float type a weight is written as where none is asked for: its own, its scales', or BF16. */
function floatOf({ dtype, parts }: LogicalTensor): Dtype {
  if (isDtype(dtype)) return dtype;
  const scales = parts.find(({ name }) => /scales?$/.test(name));
  return scales && FLOATS.has(scales.dtype) ? elementTensor(scales).dtype : 'BF16';
}

function shardsOf(index: CheckpointIndex, rebuilt: ReadonlyMap<string, Rebuilt>): Shard[] {
  const parts = new Set([...rebuilt.values()].flatMap(weight => weight.parts.map(part => part.name)));
  const isOurs = readPacked(index).size > 0;
  return index.shards.map((shard, i) => {
    const kept = index.tensors
      .filter(
        tensor => tensor.file === shard.file && !parts.has(tensor.name) && !(index.gguf && tensor.name === ROPE_FREQS),
      )
      .map(elementTensor);
    const made = [...rebuilt.values()].filter(({ file }) => file === shard.file);
    const all: TensorSpec[] = [...made, ...kept].map(({ name, dtype, shape }) => ({ name, dtype, shape }));
    // Only our own packed checkpoints hold slices of tensors.
    const { specs, joined } = isOurs ? joinSlices(all) : { specs: all, joined: new Set<string>() };
    const header = serializeHeader(aligned(specs), { format: 'pt' });
    return {
      file: index.gguf ? safetensorsName(i, index.shards.length) : denseFile(shardName(index, shard.file)),
      bytes: header.fileBytes,
      header: header.bytes,
      tensors: header.tensors,
      places: header.tensors.flatMap(place => (joined.has(place.name) ? slicesOf(place) : [place])),
    };
  });
}

const number = (value: number): string => String(value).padStart(5, '0');
const safetensorsName = (i: number, count: number): string =>
  count === 1 ? 'model.safetensors' : `model-${number(i + 1)}-of-${number(count)}.safetensors`;

async function fill(
  context: PipelineContext,
  index: CheckpointIndex,
  shards: readonly Shard[],
  rebuilt: ReadonlyMap<string, Rebuilt>,
  output: Output<null>,
): Promise<void> {
  const places = shards.flatMap(({ file, places: own }) =>
    own.map(place => ({ ...place, shard: file, path: joinPath(output.folder, file) })),
  );
  const copies = places.flatMap(({ name, shard, path, offset, bytes }) => {
    const from = index.byName.get(name);
    if (!from || rebuilt.has(name)) return [];
    return [{ name, shard, from: { path: from.file, offset: from.offset, bytes }, to: { path, offset, bytes } }];
  });
  if (!output.done.has(KEPT)) {
    await copyTensors(context, copies);
    await output.markDone(KEPT, null, [...new Set(copies.map(({ shard }) => shard))]);
  }
  await overLanes(context, {
    stage: 'export',
    items: places.flatMap(place => {
      const weight = rebuilt.get(place.name);
      return weight && !output.done.has(place.name) ? [{ ...place, weight }] : [];
    }),
    nameOf: ({ name }) => name,
    weightOf: ({ weight: { source } }) => source.rows * source.cols,
    async work(lane, { name, path, offset, shard, weight }) {
      await output.requireHeld();
      await rebuild(lane, weight, path, offset);
      await output.markDone(name, null, [shard]);
    },
  });
}

/** @throws LqError 'out-of-range' for a weight that F16 cannot hold and that was not F16. */
async function rebuild(
  context: PipelineContext,
  { name, source, narrowed, dtype, file }: Rebuilt,
  path: string,
  offset: number,
): Promise<void> {
  const { rows, cols } = source;
  const transposed = (source.kind === 'lq' || source.kind === 'encoded') && source.transposed;
  const to: DenseSource = { kind: 'dense', path, offset, dtype, rows, cols, ...(transposed && { transposed }) };
  const where = { file, tensor: name };
  if (narrowed) {
    const { absmax } = await callNative(context, where, control =>
      context.native.statistics(context.device, source, 1, control),
    );
    if (absmax >= F16_LIMIT)
      throw new LqError(
        'out-of-range',
        `${name} has a weight of magnitude ${absmax}, and F16 ends at 65504; take bf16 or fp32.`,
        { ...where, details: { absmax } },
      );
  }
  await callNative(context, where, control =>
    source.kind === 'lq' || source.kind === 'encoded'
      ? context.native.reconstruct(context.device, source, to, control)
      : context.native.convert(context.device, source, to, control),
  );
}

/** Index and configuration. */
async function textsOf(
  { files }: PipelineContext,
  index: CheckpointIndex,
  shards: readonly Shard[],
  rebuilt: ReadonlyMap<string, Rebuilt>,
  dtype: FloatType | undefined,
): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  const source = indexFileOf(index);
  if (source !== undefined) texts.set(denseFile(baseName(source)), indexText(shards));
  else if (shards.length > 1) texts.set('model.safetensors.index.json', indexText(shards));
  if (index.gguf)
    texts.set('config.json', `${JSON.stringify({ ...index.config, torch_dtype: torchType(shards) }, undefined, 2)}\n`);
  else if (index.config) {
    const text = await files.readText(joinPath(index.folder, 'config.json'));
    const plain = [...rebuilt.values()].some(({ source: from }) => from.kind !== 'dense') ? unmarkConfig(text) : text;
    texts.set('config.json', dtype === undefined ? plain : withDtype(plain, DTYPES[dtype].torch));
  }
  return texts;
}

function readme(index: CheckpointIndex, dtype: FloatType | undefined): string {
  return [
    `# ${index.label}, dense`,
    '',
    `Written by LQ Studio from ${index.label}: every weight as it is decoded, in ${dtype === undefined ? 'its own float type' : DTYPES[dtype].dtype}.`,
    '',
    ...codeBlocks(loadLines(index)),
  ].join('\n');
}

/** As torch calls the type of the largest tensors. */
function torchType(shards: readonly Shard[]): string {
  const largest = shards.flatMap(({ tensors }) => tensors).sort((a, b) => b.bytes - a.bytes)[0]?.dtype;
  return Object.values(DTYPES).find(({ dtype }) => dtype === largest)?.torch ?? 'float32';
}

/** The type that a configuration states, wherever it does; every other byte stays. */
const withDtype = (config: string, torch: string): string =>
  config.replace(/("(?:torch_)?dtype"\s*:\s*)"[^"]*"/g, `$1"${torch}"`);

/** Why a checkpoint has no dense form that is written here: copied as it is, a packed weight would be called dense. */
function faultOf(index: CheckpointIndex): LqError | undefined {
  const { gguf, label, file, config } = index;
  if (gguf && !isWholeConfig(config)) {
    const refused = (what: string, tensor?: string): LqError =>
      new LqError('unsupported-model', what, { file, ...(tensor !== undefined && { tensor }) });
    try {
      const { rope } = ggufNetwork(gguf, index);
      if (rope.type === 'longrope' && index.byName.has(ROPE_FREQS))
        return refused(`${label} has rotary factors that no configuration of transformers gives.`, ROPE_FREQS);
    } catch (error) {
      if (error instanceof LqError) return error;
      throw error;
    }
    return refused(`The configuration of ${String(config?.model_type)} in transformers is not made from a GGUF file.`);
  }
  const lookup = weightLookup(index);
  for (const { name, dtype, format, parts } of logicalTensors(index)) {
    if (format === 'dense') continue;
    const refused = (): LqError =>
      new LqError(
        'unsupported-dtype',
        `${name} is stored as ${dtype} (${format}), which is not turned into dense weights.`,
        {
          file: parts[0]?.file ?? file,
          tensor: name,
        },
      );
    if (!['lq', 'gguf', 'compressed-tensors', 'mlx', 'bitsandbytes', 'exl3'].includes(format)) return refused();
    try {
      if (lookup(name) === undefined) return refused();
    } catch (error) {
      if (!(error instanceof LqError)) throw error;
      return error;
    }
  }
  return undefined;
}
