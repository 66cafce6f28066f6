/** Symmetric integers for vLLM and transformers: widths and groups chosen by the program, fused modules sharing theirs. */
import { tensorBytes } from '../../checkpoint/serialize';
import { tensorSource } from '../../checkpoint/sources';
import type { CheckpointIndex, LogicalTensor } from '../../checkpoint/types';
import { callNative, type PipelineContext } from '../../context';
import { LqError } from '../../errors';
import { joinPath } from '../../files/paths';
import { logicalTensors } from '../../logical/logical';
import { withoutTargets } from '../../logical/targets';
import type { Opened } from '../../opened';
import { nativeOption } from '../../options/native-option';
import { describeOption } from '../../options/option';
import type { Option } from '../../options/types';
import type { SweepRow } from '../../sensitivity/types';
import { recipeReadme } from '../readme';
import { quantizedConfig, shardsOf, writeFolder, type PlacedTensor, type Replacement } from '../safetensors/folder';
import type { PreparedTarget, Sizes, Target, WriteJob, Written } from '../target';
import { quantizationConfig, schemeOf, shapeBytes, tensorsOf } from './layout';

export const compressedTensorsTarget: Target = {
  stages: ['export'],
  layerOrder: false,
  prepare: (_, found, options) => Promise.resolve(prepare(found, options)),
};

function prepare(found: Opened, options: readonly Option[]): PreparedTarget {
  const { index } = found;
  if (index.gguf) throw new LqError('usage', `${index.label} is a GGUF file; start from its checkpoint.`);
  const { opened, notes } = fittingTargets(found, options);
  const { sizes, headers } = sizesOf(opened, options);
  return {
    opened,
    notes,
    sizes,
    complete: (_, table) =>
      Promise.resolve({
        ...table,
        model: { ...table.model, keptBytes: sizes.kept },
        matrices: table.matrices.map(row => {
          const tie = tieOf(row);
          return {
            ...row,
            bytes: table.options.map(option => sizes.bytesOf(option, row.rows, row.cols) ?? null),
            costs: row.costs.map((cost, i) => (schemeOf(table.options[i]!, row.cols) ? cost : null)),
            ...(tie !== undefined && { tie }),
          };
        }),
      }),
    write: (context, job) => job.timed('export', () => writePlan(context, opened, headers, job)),
  };
}

/**
 * Matrices that vLLM joins into one and that therefore share bits and group (vllm/model_executor/models, packed_modules_mapping):
 * q, k and v; gate and up.
 */
function tieOf({ name, role }: Pick<SweepRow, 'name' | 'role'>): string | undefined {
  const module = name.replace(/\.[^.]+\.weight$/, '');
  if (role === 'q' || role === 'k' || role === 'v') return `${module} qkv`;
  return role === 'gate' || role === 'up' ? `${module} gate_up` : undefined;
}

/** @throws LqError 'no-targets' when there is nothing that the format holds. */
function fittingTargets(found: Opened, options: readonly Option[]): { opened: Opened; notes: string[] } {
  const { targets } = found;
  const isModule = ({ name }: LogicalTensor): boolean => name.endsWith('.weight');
  const fits = ({ shape: [, cols = 0] }: LogicalTensor): boolean =>
    options.some(option => schemeOf(option, cols) !== undefined);
  const fitting = targets.filter(target => isModule(target) && fits(target));
  const foreign = targets.filter(target => !isModule(target));
  const odd = targets.filter(target => isModule(target) && !fits(target));
  const named = (list: readonly LogicalTensor[]): string =>
    `${list.length} of ${targets.length} matrices (${list[0]!.name}, ${list[0]!.shape.join(' x ')})`;
  if (fitting.length === 0)
    throw new LqError(
      'no-targets',
      `Nothing to compress: no group of 16 weights or more divides the rows of ${named(targets)}.`,
    );
  const dropped = [
    ...foreign.map(target => ({ target, reason: 'no module of its own' })),
    ...odd.map(target => ({ target, reason: '16 does not divide its columns' })),
  ];
  return {
    opened: { ...found, targets: fitting, coverage: withoutTargets(found.coverage, dropped) },
    notes: [
      ...(foreign.length > 0 ? [`${named(foreign)} belong to no module of their own and stay as they are.`] : []),
      ...(odd.length > 0 ? [`16 does not divide the columns of ${named(odd)}, which stay as they are.`] : []),
    ],
  };
}

/** Sizes of the safetensors files; headers have room for the longest that a plan could give. */
function sizesOf({ index, targets }: Opened, options: readonly Option[]): { sizes: Sizes; headers: number[] } {
  const matrices = targets.map(({ name, shape: [rows = 1, cols = 1] }) => ({ name, rows, cols }));
  const tensors = (name: string, option: Option, rows: number, cols: number) =>
    Object.values(tensorsOf(name, option, rows, cols)) as ReturnType<typeof tensorsOf>['packed'][];
  const bytesOf: Sizes['bytesOf'] = (option, rows, cols) =>
    schemeOf(option, cols) && tensors('', option, rows, cols).reduce((sum, spec) => sum + tensorBytes(spec), 0);
  const widest = matrices.map(({ name, rows, cols }) => {
    const all = options.filter(option => schemeOf(option, cols)).map(option => tensors(name, option, rows, cols));
    // Of each tensor the largest that any option has: no number in a header is longer.
    return {
      name,
      tensors: all[0]!.map((spec, i) => ({
        ...spec,
        shape: spec.shape.map((_, axis) => Math.max(...all.map(each => each[i]!.shape[axis]!))),
      })),
    };
  });
  const shards = shardsOf(index, widest);
  const headers = shards.map(({ header }) => header.length);
  const decided = new Set(widest.flatMap(({ tensors: own }) => own.map(({ name }) => name)));
  const kept = shards.flatMap(shard => shard.tensors).filter(({ name }) => !decided.has(name));
  return {
    sizes: {
      kept: [...headers, ...kept.map(({ bytes }) => bytes)].reduce((sum, bytes) => sum + bytes, 0),
      matrices,
      bytesOf,
    },
    headers,
  };
}

async function writePlan(
  context: PipelineContext,
  { index }: Opened,
  headers: readonly number[],
  { table, plan, metric, out, overwrite }: WriteJob,
): Promise<Written> {
  const rows = new Map(table.matrices.map(row => [row.name, row]));
  const chosen = new Map(plan.matrices.map(({ name, option }) => [name, option]));
  const replacements = plan.matrices.map(({ name, option }): Replacement => {
    const { rows: height, cols } = rows.get(name)!;
    const { packed, scale, shape } = tensorsOf(name, option, height, cols);
    return {
      name,
      weights: height * cols,
      tensors: [packed, scale, shape],
      constants: new Map([[shape.name, shapeBytes(height, cols)]]),
    };
  });
  const shards = shardsOf(index, replacements, headers);
  const bytes = shards.reduce((sum, shard) => sum + shard.bytes, 0);
  if (bytes !== plan.bytes)
    throw new LqError('internal', `The files would have ${bytes} bytes, the plan says ${plan.bytes}.`);
  const schemes = new Map([...chosen].map(([name, option]) => [name, schemeOf(option, rows.get(name)!.cols)!]));
  const written = await writeFolder<number>(context, {
    index,
    shards,
    replacements,
    write: (lane, { name }, places) =>
      encodeMatrix(lane, index, name, chosen.get(name)!, { metric, seed: table.recipe.seed }, places),
    config: text =>
      quantizedConfig(text, joinPath(index.folder, 'config.json'), quantizationConfig(schemes, ignored(index, chosen))),
    readme: recipeReadme({
      label: index.label,
      format: 'compressed-tensors',
      matrices: [...chosen].map(([name, option]) => ({ name, label: describeOption(option) })),
      load: [
        { language: 'sh', lines: ['vllm serve .   # vLLM'] },
        {
          language: 'python',
          lines: ['# transformers, with the package compressed-tensors', "AutoModelForCausalLM.from_pretrained('.')"],
        },
      ],
    }),
    out,
    overwrite,
    fingerprint: JSON.stringify([metric.recipe, table.recipe.seed, [...chosen]]),
  });
  return {
    bytes,
    matrices: plan.matrices.map(({ name }) => {
      const error = Math.sqrt(written.records.get(name)! / (rows.get(name)!.weightedNorm || 1));
      return { name, errorLq: error, errorStored: error };
    }),
  };
}

interface Encoding {
  readonly metric: WriteJob['metric'];
  readonly seed: number;
}

/** Encodes a matrix to its places. Returns its cost. */
async function encodeMatrix(
  lane: PipelineContext,
  index: CheckpointIndex,
  name: string,
  option: Option,
  { metric, seed }: Encoding,
  places: ReadonlyMap<string, PlacedTensor>,
): Promise<number> {
  const tensor = index.byName.get(name)!;
  const source = tensorSource(tensor);
  const { packed, scale } = tensorsOf(name, option, source.rows, source.cols);
  const own = metric.of(name);
  const { cost } = await callNative(lane, { file: tensor.file, tensor: name }, control =>
    lane.native.encode(
      lane.device,
      source,
      nativeOption(option),
      { metric: own.native, seed },
      { parts: { codes: places.get(packed.name)!, group_scales: places.get(scale.name)! } },
      control,
    ),
  );
  return own.scale * cost;
}

/** Modules that keep their weights and that a loader might take for linear ones. */
function ignored(index: CheckpointIndex, chosen: ReadonlyMap<string, Option>): string[] {
  const kept = logicalTensors(index).flatMap(({ name, shape, role }) =>
    shape.length === 2 && role !== 'embedding' && name.endsWith('.weight') && !chosen.has(name)
      ? [name.replace(/\.weight$/, '')]
      : [],
  );
  return [...new Set([...kept, 'lm_head'])];
}
