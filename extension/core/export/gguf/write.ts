/** Writing a GGUF file: a folder with it and what belongs beside it, whole or not at all. */
import { ggufTypeNamed } from '../../checkpoint/gguf/types';
import { isDtype } from '../../dtypes';
import { callNative, type PipelineContext } from '../../context';
import { LqError } from '../../errors';
import { joinPath } from '../../files/paths';
import { overLanes } from '../../lanes';
import type { ByteRange, DenseSource, NativeMetric } from '../../native';
import { ggufOption } from '../../options/methods/gguf';
import { writeFolder, type MadeFolder } from '../folder';
import type { Lines } from '../readme';
import type { GgufLayout, GgufModel, GgufTensor, TypeName } from './layout';

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
  /** What the file's bytes depend on beside the model and the types. */
  readonly fingerprint: string;
}

/** The name of the file in the folder: that of the model. */
const ggufFileName = (label: string): string => `${label.replace(/[^\w.-]+/g, '-').replace(/\.gguf$/, '')}.gguf`;

/** @throws LqError 'output-exists', 'disk-full', 'not-finite', 'io', 'cancelled'. */
export function writeGguf(context: PipelineContext, job: GgufJob): Promise<MadeFolder<Record>> {
  const { index } = job.model;
  const layout = job.model.layout(job.types);
  const name = ggufFileName(index.label);
  return writeFolder<Record>(context, {
    index,
    out: job.out,
    overwrite: job.overwrite,
    fingerprint: [[...job.types], job.fingerprint],
    shared: true,
    items: layout.weights.length,
    files: [{ file: name, bytes: layout.fileBytes, header: layout.bytes }],
    async fill(output) {
      const path = joinPath(output.folder, name);
      await overLanes(context, {
        stage: 'export',
        items: layout.weights.filter(tensor => !output.done.has(tensor.name)),
        nameOf: tensor => tensor.name,
        weightOf: ({ source }) => source.rows * source.cols,
        work: async (lane, tensor) => {
          const record = await writeTensor(lane, tensor, path, job.metricOf?.(tensor.name));
          await output.markDone(tensor.name, record, [name]);
        },
      });
      await writeDivisors(context, layout, path);
    },
    texts: new Map([
      ['README.md', job.readme],
      ['Modelfile', `FROM ./${name}\n`],
    ]),
    side: 'legal',
    meant: done => ({
      format: 'GGUF',
      load: loadLines(index.label),
      stored: job.model.stored(job.types),
      squaredErrors: new Map(
        [...done].flatMap(([matrix, { squaredError }]) =>
          squaredError === undefined ? [] : [[matrix, squaredError] as const],
        ),
      ),
    }),
  });
}

/** What is kept of a tensor that was written: of an encoded one its squared error. */
interface Record {
  readonly squaredError?: number;
}

/** How the programs that read the file are given it, from within its folder. */
export function loadLines(label: string): Lines[] {
  const file = ggufFileName(label);
  return [
    {
      language: 'sh',
      lines: [
        `llama-cli -m ${file}   # llama.cpp`,
        `ollama create ${file.replace(/\.gguf$/, '').toLowerCase()} -f Modelfile   # Ollama`,
      ],
    },
    {
      language: 'python',
      lines: [`AutoModelForCausalLM.from_pretrained('.', gguf_file='${file}')  # transformers`],
    },
  ];
}

async function writeTensor(
  context: PipelineContext,
  { name, source, place, heads }: GgufTensor,
  path: string,
  metric: NativeMetric = { kind: 'plain' },
): Promise<Record> {
  const { type, offset, bytes } = place;
  const { rows, cols } = source;
  const range: ByteRange = { path, offset, bytes };
  const where = { file: path, tensor: name };
  let record: Record = {};
  if (isDtype(type)) {
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
  if (heads !== undefined)
    await callNative(context, where, control =>
      context.native.pairRows(range, rows === 1 ? cols : rows, heads, control),
    );
  return record;
}

/** The few numbers of the rotary scaling, through a file of their own: bytes of tensors do not pass through here. */
async function writeDivisors(context: PipelineContext, layout: GgufLayout, path: string): Promise<void> {
  if (!layout.divisors) return;
  const { place, values } = layout.divisors;
  const bytes = new Uint8Array(Float32Array.from(values).buffer);
  const aside = `${path}.rope`;
  await context.files.writeAtomic(aside, bytes);
  const from = { path: aside, offset: 0, bytes: bytes.length };
  const to = { path, offset: place.offset, bytes: place.bytes };
  await callNative(context, { file: path, tensor: place.name }, control => context.native.copy(from, to, control));
  await context.files.remove(aside);
}

/** Bits of a weight under a type. */
export function bitsOf(type: TypeName): number {
  const { weights, bytes } = ggufTypeNamed(type)!.type;
  return (8 * bytes) / weights;
}
