/**
 * Markdown for tooltips and hovers. Names, metadata and paths come from strangers: they only ever appear inside code
 * spans made here, cut to a length that can be read.
 */
import type { LogicalTensor, ShardInfo, TreeNode } from '../../core/checkpoint/types';
import {
  baseName,
  formatBits,
  formatBytes,
  formatCount,
  formatInteger,
  formatNumber,
  formatShape,
} from '../../core/format';
import { methods, type MethodId } from '../../core/options/methods/registry';
import type { TensorStatistics } from '../../core/analysis/types';
import type { Model } from './models';

/** A method by its name for people; one that an earlier version knew by the one it had. */
export const methodLabel = (id: string): string =>
  Object.hasOwn(methods, id) ? methods[id as MethodId].label : shownName(id);

const maxName = 160;

/** A name as it can be shown on one line: cut in the middle, control and direction characters made visible. */
export function shownName(name: string, length = maxName): string {
  const printable = name.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\u{FFFD}');
  if (printable.length <= length) return printable;
  const half = Math.floor((length - 1) / 2);
  return `${printable.slice(0, half)}…${printable.slice(-half)}`;
}

/** A code span that holds any text: its fence is longer than every run of backticks inside. */
export function codeSpan(text: string): string {
  const shown = shownName(text);
  const longest = Math.max(0, ...Array.from(shown.matchAll(/`+/g), run => run[0].length));
  const fence = '`'.repeat(longest + 1);
  const pad = shown.startsWith('`') || shown.endsWith('`') || shown === '' ? ' ' : '';
  return `${fence}${pad}${shown}${pad}${fence}`;
}

/** A two-column table. Labels are ours; a pipe in a value would end its cell. */
function table(rows: readonly (readonly [label: string, value: string])[]): string {
  const body = rows.map(([label, value]) => `| ${label} | ${value.replaceAll('|', '\\|')} |`);
  return ['| | |', '|:--|:--|', ...body].join('\n');
}

const bits = (value: number): string => `${formatBits(value)} bits per weight`;

export function describeTensor(tensor: LogicalTensor, model: Model, statistics?: TensorStatistics): string {
  const [only] = tensor.parts;
  const plain = tensor.parts.length === 1 && only?.name === tensor.name;
  const sections = [
    `**${codeSpan(tensor.name)}**`,
    table([
      ['Shape', formatShape(tensor.shape)],
      ['Type', `${codeSpan(tensor.dtype)}${tensor.format === 'dense' ? '' : ` (${tensor.format})`}`],
      ['Parameters', formatInteger(tensor.parameters)],
      ['Size', `${formatBytes(tensor.bytes)}, ${bits(tensor.bitsPerWeight)}`],
      ['File', codeSpan(baseName(only?.file ?? model.file))],
      ...(plain
        ? []
        : tensor.parts.map((part): [string, string] => [
            'Part',
            `${codeSpan(part.name)} ${codeSpan(part.dtype)} ${formatShape(part.shape)}`,
          ])),
    ]),
  ];
  if (statistics) sections.push(describeStatistics(statistics));
  return sections.join('\n\n');
}

function describeStatistics(statistics: TensorStatistics): string {
  const { count, zeros, nans, infs } = statistics;
  const faults = [
    ...(nans > 0 ? [`${formatInteger(nans)} NaN (first at ${formatInteger(statistics.firstNan)})`] : []),
    ...(infs > 0 ? [`${formatInteger(infs)} infinite (first at ${formatInteger(statistics.firstInf)})`] : []),
  ];
  return [
    ...(faults.length > 0 ? [`$(warning) ${faults.join(', ')}`] : []),
    table([
      ['Range', `${formatNumber(statistics.min)} to ${formatNumber(statistics.max)}`],
      ['Mean ± deviation', `${formatNumber(statistics.mean)} ± ${formatNumber(statistics.stddev)}`],
      ['Absmax', formatNumber(statistics.absmax)],
      ['Kurtosis', formatNumber(statistics.kurtosis)],
      ['Zeros', count > 0 ? `${formatNumber((100 * zeros) / count, 3)} %` : '0'],
    ]),
  ].join('\n\n');
}

export function describeNode(node: TreeNode): string {
  const repeats = node.repeats === undefined ? '' : `, ${node.repeats} equal blocks`;
  const perWeight = node.parameters > 0 ? `, ${bits((8 * node.bytes) / node.parameters)}` : '';
  return `**${codeSpan(node.path)}**\n\n${formatCount(node.parameters)} parameters, ${formatBytes(node.bytes)}${perWeight}${repeats}`;
}

export function describeModel(model: Model): string {
  const { header, index } = model;
  const errors = index.problems.filter(problem => problem.severity === 'error').length;
  const lora = describeAdapter(index.adapterConfig);
  return [
    `**${codeSpan(header.label)}**${header.architecture === undefined ? '' : ` ${codeSpan(header.architecture)}`}`,
    table([
      ['Parameters', formatInteger(header.parameters)],
      ['Type', codeSpan(header.dtype)],
      ['Size', `${formatBytes(header.bytes)}, ${bits(header.bitsPerWeight)}`],
      ['Tensors', `${formatInteger(header.tensors)} in ${header.files} ${header.files === 1 ? 'file' : 'files'}`],
      ...lora,
      ['Path', codeSpan(model.path)],
    ]),
    ...(index.problems.length > 0
      ? [
          `$(${errors > 0 ? 'error' : 'warning'}) ${index.problems
            .slice(0, 5)
            .map(problem => codeSpan(problem.message))
            .join('  \n')}`,
        ]
      : []),
  ].join('\n\n');
}

function describeAdapter(config: Readonly<Record<string, unknown>> | undefined): [string, string][] {
  if (!config) return [];
  const rank = config['r'];
  const alpha = config['lora_alpha'];
  const targets = config['target_modules'];
  return [
    ...(typeof rank === 'number' ? [['LoRA rank', formatNumber(rank)] as [string, string]] : []),
    ...(typeof alpha === 'number' ? [['LoRA alpha', formatNumber(alpha)] as [string, string]] : []),
    ...(Array.isArray(targets)
      ? [
          [
            'LoRA targets',
            targets
              .slice(0, 12)
              .map(each => codeSpan(String(each)))
              .join(' '),
          ] as [string, string],
        ]
      : []),
  ];
}

export function describeShard(shard: ShardInfo, tensors: readonly LogicalTensor[]): string {
  const name = `**${codeSpan(baseName(shard.file))}**`;
  if (shard.missing) {
    const tensors = `${shard.tensors} tensor${shard.tensors === 1 ? '' : 's'}`;
    return `${name}\n\n$(error) This shard is missing; the index has ${tensors} in it.`;
  }
  return `${name}\n\n${formatCount(parametersOf(tensors))} parameters in ${formatInteger(shard.tensors)} tensors, ${formatBytes(shard.bytes)}`;
}

const parametersOf = (tensors: readonly LogicalTensor[]): number =>
  tensors.reduce((sum, tensor) => sum + tensor.parameters, 0);
