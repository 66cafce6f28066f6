/** Where a compressed checkpoint will run, and the methods whose options its format holds. */
import { LqError } from '../errors';
import { findMethod, METHOD_IDS, type MethodId } from './methods/registry';

export interface Consumer {
  /** For people: the format, and the programs that read it. */
  readonly label: string;
  readonly readers: string;
  /** The methods that make it, the usual one first; undefined: any. */
  readonly methods?: readonly [MethodId, ...MethodId[]];
}

export const consumers = {
  packed: { label: 'Packed LQ checkpoint', readers: 'LQ Studio' },
  'compressed-tensors': {
    label: 'compressed-tensors',
    readers: 'vLLM, transformers',
    methods: ['integers'],
  },
  gguf: { label: 'GGUF', readers: 'llama.cpp, Ollama, LM Studio', methods: ['gguf'] },
  exl3: { label: 'EXL3', readers: 'exllamav3, TabbyAPI', methods: ['exl3'] },
  mlx: { label: 'MLX', readers: 'mlx-lm', methods: ['integers'] },
  bitsandbytes: { label: 'bitsandbytes NF4', readers: 'transformers, peft', methods: ['nf4'] },
} as const satisfies Record<string, Consumer>;

export type ConsumerId = keyof typeof consumers;

export const CONSUMER_IDS = Object.keys(consumers) as [ConsumerId, ...ConsumerId[]];

/** Methods that are of no one format's own types: what can be compared at equal bytes, and goes wherever any method does. */
export const GENERAL_METHODS: readonly MethodId[] = METHOD_IDS.filter(id =>
  CONSUMER_IDS.every(consumer => (consumers[consumer] as Consumer).methods?.includes(id) !== true),
);

/**
 * The method of a request: the one it names, or the usual one of where the result will run.
 * @param usual that of a request that names neither
 * @throws LqError 'usage' for a method that does not exist or whose options the format does not hold.
 */
export function methodFor(consumer: ConsumerId, method: string | undefined, usual: MethodId): MethodId {
  const { label, methods }: Consumer = consumers[consumer];
  const id = findMethod(method ?? methods?.[0] ?? usual);
  if (methods && !methods.includes(id))
    throw new LqError('usage', `${label} does not hold the options of ${id}; its methods are ${methods.join(', ')}.`);
  return id;
}
