/** Methods by name: what `--method` takes. A new one is a file beside this one and a line here. */
import { LqError } from '../../errors';
import { exl3 } from './exl3';
import { gguf } from './gguf';
import { integers } from './integers';
import { frontier } from './frontier';
import { lqLora } from './lq-lora';
import { nf4 } from './nf4';
import type { Method, MethodSettings } from './method';
import { awq, eora, fwsvd, gptq, higgs, leanquant, lqer, quip, rtn, zeroquantV2 } from './published';

export const methods = {
  'lq-lora': lqLora,
  frontier,
  gguf,
  integers,
  nf4,
  exl3,
  gptq,
  rtn,
  awq,
  quip,
  higgs,
  leanquant,
  lqer,
  eora,
  'zeroquant-v2': zeroquantV2,
  fwsvd,
} as const satisfies Record<string, Method>;

export type MethodId = keyof typeof methods;

export const METHOD_IDS = Object.keys(methods) as MethodId[];

const isMethod = (name: string): name is MethodId => Object.hasOwn(methods, name);

/** The method of a name. @throws LqError 'usage' saying which there are. */
export function findMethod(name: string): MethodId {
  if (isMethod(name)) return name;
  throw new LqError('usage', `There is no method "${name}". Methods: ${METHOD_IDS.join(', ')}.`);
}

/** Options of a method. @throws LqError 'usage' for a setting that the method does not have. */
export function methodOptions(id: MethodId, settings: MethodSettings): ReturnType<Method['options']> {
  const method: Method = methods[id];
  for (const [name, value] of Object.entries(settings) as [keyof MethodSettings, unknown][])
    if (value !== undefined && !method.settings.includes(name))
      throw new LqError('usage', `${method.label} has no setting "${name}".`);
  return method.options(settings);
}
