/** Writing a GGUF file: a folder with it and what belongs beside it, whole or not at all. */
import { partName } from '../../checkpoint/gguf/serialize-parts';
import { ggufTypeNamed } from '../../checkpoint/gguf/types';
import { isDtype } from '../../dtypes';
import { callNative, type PipelineContext } from '../../context';
import { LqError } from '../../errors';
import { joinPath } from '../../files/paths';
import { placePieces, type Piece } from '../../decomposition/encoded';
import { overLanes, type ItemReport } from '../../lanes';
import type { ByteRange, DenseSource, NativeControl, NativeMetric, WeightSource } from '../../native';
import { ggufOption } from '../../options/methods/gguf';
import type { Meant } from '../delivered';
import { writeFolder, type FolderJob, type MadeFolder } from '../folder';
import type { StoredModel } from '../loads/stored';
import type { Lines } from '../readme';
import type { GgufLayout, GgufModel, GgufTensor, TypeName } from './layout';

export interface GgufJob {
  readonly model: GgufModel;
  readonly types: ReadonlyMap<string, TypeName>;
  /** The metric of a matrix's errors; matrices without one are rounded under the plain error. */
  readonly metricOf?: (name: string) => NativeMetric | undefined;
  /** What a matrix's values and their rounding depend on, of those that workers encode for one another. */
  readonly keyOf?: (name: string) => unknown;
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
export interface GgufContent extends Pick<GgufJob, 'model' | 'types' | 'metricOf' | 'splitSize' | 'keyOf'> {
  /** A subfolder, ending with a slash. */
  readonly within?: string;
  /** Another source of a weight. */
  readonly sourceOf?: (source: WeightSource) => WeightSource;
}

/** @throws LqError those of the layout. */
export function ggufFiles(context: PipelineContext, content: GgufContent): GgufFiles {
  const { model, types, metricOf, splitSize, sourceOf = (source: WeightSource) => source } = content;
  const layout = model.layout(types, splitSize);
  const names = fileNames(content, layout);
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
      const partOf = new Map(layout.weights.map(({ name, part }) => [name, names[part]!]));
      const markDone = (name: string, record: GgufRecord): Promise<void> =>
        output.markDone(name, record, [partOf.get(name)!]);
      const pieces = ggufPieces(content, output.folder);
      await placePieces(context, {
        ...{ stage: 'export', pieces, markDone },
        isDone: name => output.done.has(name),
        requireHeld: () => output.requireHeld(),
      });
      await overLanes(context, {
        stage: 'export',
        items: layout.weights.filter(tensor => !output.done.has(tensor.name)),
        nameOf: tensor => tensor.name,
        weightOf: ({ source }) => source.rows * source.cols,
        work: async (lane, tensor, report) => {
          const own = { ...tensor, source: sourceOf(tensor.source) };
          const path = joinPath(output.folder, partOf.get(tensor.name)!);
          await markDone(tensor.name, await writeTensor(lane, own, path, metricOf?.(tensor.name), report));
        },
      });
      for (const { place, part, values } of layout.constants)
        await writeNumbers(context, values, { ...place, path: joinPath(output.folder, names[part]!) });
    },
  };
}

const fileNames = ({ model, within = '' }: GgufContent, { files }: GgufLayout): string[] =>
  files.map((_, part) => `${within}${partName(ggufStem(model.index.label), part, files.length)}`);

/** The matrices in blocks that have a key, as several processes can encode them. */
export function ggufPieces(content: GgufContent, folder: string): Piece<GgufRecord>[] {
  const { model, types, metricOf, splitSize, keyOf } = content;
  if (keyOf === undefined) return [];
  const layout = model.layout(types, splitSize);
  const names = fileNames(content, layout);
  return layout.weights.flatMap(tensor => {
    const { name, place, part, order, source } = tensor;
    const { type, offset, bytes } = place;
    const key = keyOf(name);
    if (key === undefined || isDtype(type)) return [];
    return {
      name,
      weights: source.rows * source.cols,
      key: { format: 'gguf', type, order: order && Array.from(order), weight: key },
      parts: [{ path: joinPath(folder, names[part]!), offset, bytes }],
      encode(lane, [range], report) {
        const moved = { ...tensor, place: { ...place, offset: range!.offset } };
        return writeTensor(lane, moved, range!.path, metricOf?.(name), report);
      },
    };
  });
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
  tensor: GgufTensor,
  path: string,
  metric: NativeMetric = { kind: 'plain' },
  report: ItemReport,
): Promise<GgufRecord> {
  if (tensor.half) return writeHalf(context, tensor, tensor.half, path, report);
  const { name, source, place, order, plus } = tensor;
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
    const { storedSquaredError } = await callNative(
      context,
      where,
      control =>
        context.native.encode(
          context.device,
          source,
          ggufOption(type),
          { metric, seed: context.seed },
          { parts: { codes: range } },
          control,
        ),
      (finished, all) => report(finished / all),
    );
    record = { squaredError: storedSquaredError };
  }
  // A bias is a row of elements that are ordered like the rows of its matrix.
  if (order !== undefined) await callNative(context, where, control => context.native.orderRows(range, order, control));
  return record;
}

/** Half of a matrix, or of its bias, which is decoded whole to a file of its own. */
async function writeHalf(
  context: PipelineContext,
  { half: _, ...tensor }: GgufTensor,
  { of, order }: NonNullable<GgufTensor['half']>,
  path: string,
  report: ItemReport,
): Promise<GgufRecord> {
  const { files, cache, native, device } = context;
  const { name, source } = tensor;
  const { rows, cols } = source;
  const [count, width] = rows === 1 ? [cols, 1] : [rows, cols];
  const bytes = 4 * count * width;
  const scratch = joinPath(cache, `half-${context.digest(`${path} ${name}`)}`);
  await files.makeFolder(cache);
  await files.allocate(scratch, bytes, new Uint8Array(0));
  try {
    await callNative(context, { file: path, tensor: name }, async control => {
      await native.convert(
        device,
        source,
        { kind: 'dense', path: scratch, offset: 0, dtype: 'F32', rows, cols },
        control,
      );
      if (order === 'stacked') return;
      const apart = Int32Array.from({ length: count }, (_row, i) => (i < count / 2 ? 2 * i : 2 * i - count + 1));
      await native.orderRows({ path: scratch, offset: 0, bytes }, apart, control);
    });
    const offset = of === 'gate' ? 0 : bytes / 2;
    const own = rows === 1 ? { rows, cols: cols / 2 } : { rows: rows / 2, cols };
    return await writeTensor(
      context,
      { ...tensor, source: { kind: 'dense', path: scratch, offset, dtype: 'F32', ...own } },
      path,
      undefined,
      report,
    );
  } finally {
    await files.remove(scratch);
  }
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
