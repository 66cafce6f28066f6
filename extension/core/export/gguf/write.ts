/** Writing a GGUF file: a folder with it and what belongs beside it, whole or not at all. */
import { partName } from '../../checkpoint/gguf/serialize-parts';
import { ggufTypeNamed } from '../../checkpoint/gguf/types';
import { isDtype } from '../../dtypes';
import { callNative, type PipelineContext } from '../../context';
import { LqError } from '../../errors';
import { joinPath } from '../../files/paths';
import { overLanes } from '../../lanes';
import type { ByteRange, DenseSource, NativeControl, NativeMetric, WeightSource } from '../../native';
import { ggufOption } from '../../options/methods/gguf';
import type { Meant } from '../delivered';
import { writeFolder, type FolderJob, type MadeFolder } from '../folder';
import type { StoredModel } from '../loads/stored';
import type { Lines } from '../readme';
import type { GgufModel, GgufTensor, TypeName } from './layout';

export interface GgufJob {
  readonly model: GgufModel;
  readonly types: ReadonlyMap<string, TypeName>;
  /** The metric of a matrix's errors; matrices without one are rounded under the plain error. */
  readonly metricOf?: (name: string) => NativeMetric | undefined;
  /** Absolute path of the folder to make. */
  readonly out: string;
  readonly overwrite: boolean;
  /** What is written into README.md. */
  readonly readme: string;
  /** Bytes of a file, where the model is to be several. */
  readonly splitSize?: number;
  /** What the file's bytes depend on beside the model and the types. */
  readonly fingerprint: string;
}

/** The name of the file in the folder, without its suffix: that of the model. */
export const ggufStem = (label: string): string => label.replace(/[^\w.-]+/g, '-').replace(/\.gguf$/, '');

/** The files of a model, and how they are filled, for a folder that may be within another. */
export interface GgufFiles extends Pick<FolderJob<GgufRecord>, 'files' | 'fill' | 'items'> {
  readonly stored: StoredModel;
  /** Squared errors of encoded matrices. */
  squaredErrors(done: ReadonlyMap<string, GgufRecord>): Map<string, number>;
  readonly written: NonNullable<Meant['written']>;
}

/** What is written of a model. */
export interface GgufContent extends Pick<GgufJob, 'model' | 'types' | 'metricOf' | 'splitSize'> {
  /** A subfolder, ending with a slash. */
  readonly within?: string;
  /** Another source of a weight. */
  readonly sourceOf?: (source: WeightSource) => WeightSource;
}

/** @throws LqError those of the layout. */
export function ggufFiles(
  context: PipelineContext,
  { model, types, metricOf, splitSize, within = '', sourceOf = source => source }: GgufContent,
): GgufFiles {
  const layout = model.layout(types, splitSize);
  const stem = ggufStem(model.index.label);
  const names = layout.files.map((_, part) => `${within}${partName(stem, part, layout.files.length)}`);
  return {
    files: layout.files.map(({ bytes, header }, part) => ({ file: names[part]!, bytes, header })),
    items: layout.weights.length,
    stored: model.stored(types, names.length),
    written: new Map(model.weights.map(weight => [weight.name, model.written(weight)])),
    squaredErrors: done =>
      new Map(
        [...done].flatMap(([matrix, { squaredError }]) =>
          squaredError === undefined ? [] : [[matrix, squaredError] as const],
        ),
      ),
    async fill(output) {
      await overLanes(context, {
        stage: 'export',
        items: layout.weights.filter(tensor => !output.done.has(tensor.name)),
        nameOf: tensor => tensor.name,
        weightOf: ({ source }) => source.rows * source.cols,
        work: async (lane, tensor) => {
          const name = names[tensor.part]!;
          const own = { ...tensor, source: sourceOf(tensor.source) };
          const record = await writeTensor(lane, own, joinPath(output.folder, name), metricOf?.(tensor.name));
          await output.markDone(tensor.name, record, [name]);
        },
      });
      for (const { place, part, values } of layout.constants)
        await writeNumbers(context, values, { ...place, path: joinPath(output.folder, names[part]!) });
    },
  };
}

/** @throws LqError 'output-exists', 'disk-full', 'not-finite', 'io', 'cancelled', and those of the layout. */
export function writeGguf(context: PipelineContext, job: GgufJob): Promise<MadeFolder<GgufRecord>> {
  const { model, types } = job;
  const { index } = model;
  const { files, fill, items, stored, squaredErrors, written } = ggufFiles(context, job);
  return writeFolder<GgufRecord>(context, {
    ...{ index, out: job.out, overwrite: job.overwrite, files, fill, items },
    fingerprint: [[...types], job.fingerprint],
    shared: true,
    texts: new Map([
      ['README.md', job.readme],
      ['Modelfile', `FROM ./${files[0]!.file}\n`],
    ]),
    side: 'legal',
    meant: done => ({
      format: 'GGUF',
      load: loadLines(index.label, files.length),
      squaredErrors: squaredErrors(done),
      ...{ stored, written },
    }),
  });
}

/** What is kept of a tensor that was written: of an encoded one its squared error. */
export interface GgufRecord {
  readonly squaredError?: number;
}

/** How the programs that read the file, or the first of so many, are given it, from within its folder. */
export function loadLines(label: string, parts: number): Lines[] {
  const stem = ggufStem(label);
  const file = partName(stem, 0, parts);
  return [
    {
      language: 'sh',
      lines: [`llama-cli -m ${file}   # llama.cpp`, `ollama create ${stem.toLowerCase()} -f Modelfile   # Ollama`],
    },
    // It reads one file alone.
    ...(parts === 1
      ? [
          {
            language: 'python' as const,
            lines: [`AutoModelForCausalLM.from_pretrained('.', gguf_file='${file}')  # transformers`],
          },
        ]
      : []),
  ];
}

async function writeTensor(
  context: PipelineContext,
  { name, source, place, order, plus }: GgufTensor,
  path: string,
  metric: NativeMetric = { kind: 'plain' },
): Promise<GgufRecord> {
  const { type, offset, bytes } = place;
  const { rows, cols } = source;
  const range: ByteRange = { path, offset, bytes };
  const where = { file: path, tensor: name };
  let record: GgufRecord = {};
  if (plus !== undefined) await writeShifted(context, source, plus, { ...place, path });
  else if (isDtype(type)) {
    const destination: DenseSource = { kind: 'dense', path, offset, dtype: type, rows, cols };
    await callNative(context, where, control => context.native.convert(context.device, source, destination, control));
  } else {
    if (source.kind !== 'dense')
      throw new LqError('unsupported-dtype', `${name} is packed; GGUF types are made from dense weights.`, where);
    const { storedSquaredError } = await callNative(context, where, control =>
      context.native.encode(
        context.device,
        source,
        ggufOption(type),
        { metric, seed: context.seed },
        { parts: { codes: range } },
        control,
      ),
    );
    record = { squaredError: storedSquaredError };
  }
  // A bias is a row of elements that are ordered like the rows of its matrix.
  if (order !== undefined) await callNative(context, where, control => context.native.orderRows(range, order, control));
  return record;
}

type PlaceInFile = GgufTensor['place'] & { readonly path: string };

/** A vector with a constant added, in F32. */
async function writeShifted(
  context: PipelineContext,
  source: WeightSource,
  plus: number,
  place: PlaceInFile,
): Promise<void> {
  const { rows, cols } = source;
  const { bytes } = place;
  const numbers = new Float32Array(2 * rows * cols).fill(plus, rows * cols);
  await withNumbers(context, numbers, place, async (scratch, control) => {
    const { native, device } = context;
    const own: DenseSource = { kind: 'dense', path: scratch, offset: 0, dtype: 'F32', rows, cols };
    await native.convert(device, source, own, control);
    const terms = [0, bytes].map(offset => ({ range: { path: scratch, offset, bytes }, weight: 1 }));
    await native.weightedSum(terms, { path: place.path, offset: place.offset, bytes }, control);
  });
}

/** Numbers that are computed here: the few of a rotary scaling. */
async function writeNumbers(context: PipelineContext, values: readonly number[], place: PlaceInFile): Promise<void> {
  const numbers = Float32Array.from(values);
  await withNumbers(context, numbers, place, (path, control) =>
    context.native.copy(
      { path, offset: 0, bytes: numbers.byteLength },
      { path: place.path, offset: place.offset, bytes: place.bytes },
      control,
    ),
  );
}

/** Numbers go through a file of their own: native code moves bytes from file to file. */
async function withNumbers(
  context: PipelineContext,
  numbers: Float32Array,
  { path, name }: PlaceInFile,
  work: (scratch: string, control: NativeControl) => Promise<void>,
): Promise<void> {
  const { files, cache } = context;
  const scratch = joinPath(cache, `numbers-${context.digest(`${path} ${name}`)}`);
  await files.makeFolder(cache);
  await files.writeAtomic(scratch, new Uint8Array(numbers.buffer));
  try {
    await callNative(context, { file: path, tensor: name }, control => work(scratch, control));
  } finally {
    await files.remove(scratch);
  }
}

/** Bits of a weight under a type. */
export function bitsOf(type: TypeName): number {
  const { weights, bytes } = ggufTypeNamed(type)!.type;
  return (8 * bytes) / weights;
}
