/** Methods by name: what `--method` takes. A new one is a file beside this one and a line here. */
import { LqError } from '../../errors';
import { gguf } from './gguf';
import { integers } from './integers';
import { frontier } from './frontier';
import { lqLora } from './lq-lora';
import { nf4 } from './nf4';
import type { Method, MethodSettings } from './method';
import { eora, gptq, higgs, leanquant, lqer, quip, rtn, zeroquantV2 } from './published';

export const methods = {
  'lq-lora': lqLora,
  frontier,
  gguf,
  integers,
  nf4,
  gptq,
  rtn,
  quip,
  higgs,
  leanquant,
  lqer,
  eora,
  'zeroquant-v2': zeroquantV2,
} as const satisfies Record<string, Method>;

export type MethodId = keyof typeof methods;

export const METHOD_IDS = Object.keys(methods) as MethodId[];

/** Methods that people ask for and that are not points of the product, with what they lack. */
const ABSENT: Readonly<Record<string, string>> = {
  awq: 'AWQ needs a stored scale for every input column, and no option has one',
  fwsvd: 'FWSVD keeps two low-rank factors and no codes, and every option has codes',
};

const isMethod = (name: string): name is MethodId => Object.hasOwn(methods, name);

/** The method of a name. @throws LqError 'usage' saying which there are, or what the one asked for lacks. */
export function findMethod(name: string): MethodId {
  if (isMethod(name)) return name;
  const lacking = Object.hasOwn(ABSENT, name) ? `${ABSENT[name]}.` : `There is no method "${name}".`;
  throw new LqError('usage', `${lacking} Methods: ${METHOD_IDS.join(', ')}.`);
}

/** Options of a method. @throws LqError 'usage' for a setting that the method does not have. */
export function methodOptions(id: MethodId, settings: MethodSettings): ReturnType<Method['options']> {
  const method: Method = methods[id];
  for (const [name, value] of Object.entries(settings) as [keyof MethodSettings, unknown][])
    if (value !== undefined && !method.settings.includes(name))
      throw new LqError('usage', `${method.label} has no setting "${name}".`);
  return method.options(settings);
}
