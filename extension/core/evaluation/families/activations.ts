/** Activations by the names configurations have for them. */
import type { NativeActivation } from '../../native';
import type { ConfigReader } from '../config-reader';

const ACTIVATIONS: ReadonlyMap<string, NativeActivation> = new Map([
  ['silu', 'silu'],
  ['swish', 'silu'],
  ['gelu', 'gelu'],
  ['gelu_python', 'gelu'],
  ['gelu_pytorch_tanh', 'gelu_tanh'],
  ['gelu_new', 'gelu_tanh'],
  ['gelu_fast', 'gelu_tanh'],
  ['quick_gelu', 'gelu_quick'],
  ['relu', 'relu'],
  ['relu2', 'relu_squared'],
]);

/** @throws LqError 'unsupported-model' for one that is not known. */
export function readActivation(config: ConfigReader, key: string, fallback: string): NativeActivation {
  const name = config.text(key, fallback);
  const known = ACTIVATIONS.get(name);
  if (known === undefined) config.refuse(`The activation ${name} is not supported`);
  return known;
}
