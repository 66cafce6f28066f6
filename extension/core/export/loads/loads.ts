/** Will it load? Each program with the version that was read, yes or no, and why: of what is to be written or was. */
import type { StorageFormat } from '../../checkpoint/types';
import { programs, type Program, type Remark } from './programs';
import type { StoredModel } from './stored';

export interface Verdict {
  program: string;
  /** Of the program, whose source was read. */
  version: string;
  /** `unknown`: nothing that was read says so. */
  loads: 'yes' | 'no' | 'unknown';
  /** Reasons; of a yes what has to be known. */
  why: string[];
}

/** What each program makes of a checkpoint, from how its weights are stored. */
export function loads(model: StoredModel): Verdict[] {
  const formats = formatsOf(model);
  return programs
    .filter(({ only }) => only === undefined || formats.some(format => only.includes(format)))
    .map(program => verdict(program, model, formats));
}

/** How weights are packed; `dense` when none is. */
function formatsOf({ container, weights }: StoredModel): StorageFormat[] {
  if (container === 'gguf') return [weights.some(({ format }) => format === 'lora') ? 'lora' : 'gguf'];
  const packed = new Set(weights.map(({ format }) => format).filter(format => format !== 'dense'));
  return packed.size > 0 ? [...packed] : ['dense'];
}

function verdict(program: Program, model: StoredModel, formats: readonly StorageFormat[]): Verdict {
  const remarks = formats.flatMap(format => remarksOf(program, model, format));
  const worst = (['no', 'unknown', 'note'] as const).find(weight => remarks.some(remark => remark.weight === weight));
  return {
    program: program.label,
    version: program.version,
    loads: worst === undefined || worst === 'note' ? 'yes' : worst,
    why: remarks.filter(({ weight }) => weight === worst).map(({ text }) => text),
  };
}

function remarksOf({ rules, others }: Program, model: StoredModel, format: StorageFormat): Remark[] {
  const rule = rules[format];
  if (rule === undefined)
    return [
      others === undefined
        ? { weight: 'unknown', text: `whether it loads ${format} was not read` }
        : { weight: 'no', text: others },
    ];
  const own = model.weights.filter(weight => weight.format === format);
  return rule(model, own).filter(remark => remark !== undefined);
}

const WORDS: Readonly<Record<Verdict['loads'], string>> = { yes: 'yes', no: 'no', unknown: 'not known' };

/** Rows for people: program, version, answer, reason; further reasons have rows of their own. */
export function verdictRows({ program, version, loads: answer, why }: Verdict): string[][] {
  const [reason = '', ...more] = why;
  return [[program, version, WORDS[answer], reason], ...more.map(text => ['', '', '', text])];
}
