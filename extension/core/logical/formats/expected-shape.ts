/** Shapes that a configuration gives: for layouts that store codes and not the shape they came from. */
import { elementCount } from '../../dtypes';
import { placeOf } from '../../checkpoint/roles';
import { asCount, asRecord, type FormatSource } from './recogniser';

/**
 * [out, in] of a weight by its role in a decoder, where config.json has the sizes and they make up `count` weights; undefined
 * otherwise: of a weight that is only similar nothing is guessed.
 */
export function expectedShape(name: string, count: number, source: FormatSource): readonly number[] | undefined {
  const config = asRecord(source.config?.text_config) ?? source.config;
  const hidden = asCount(config?.hidden_size);
  const heads = asCount(config?.num_attention_heads);
  if (hidden === undefined || heads === undefined) return undefined;
  const head = asCount(config?.head_dim) ?? hidden / heads;
  const queries = heads * head;
  const keys = (asCount(config?.num_key_value_heads) ?? heads) * head;
  const inner = asCount(config?.intermediate_size) ?? 0;
  const shapes: Partial<Record<string, readonly number[]>> = {
    q: [queries, hidden],
    k: [keys, hidden],
    v: [keys, hidden],
    o: [hidden, queries],
    gate: [inner, hidden],
    up: [inner, hidden],
    down: [hidden, inner],
    head: [asCount(config?.vocab_size) ?? 0, hidden],
  };
  const shape = shapes[placeOf(name).role];
  return shape !== undefined && elementCount(shape) === count ? shape : undefined;
}
