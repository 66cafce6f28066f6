/**
 * The formats a checkpoint can be exported to. A new one is a folder beside `dense` and a line here; command line, engine
 * and editor list what is registered.
 */
import { LqError } from '../errors';
import { dense } from './dense/exporter';
import type { Exporter } from './exporter';
import { gguf } from './gguf/exporter';
import { ggufLora } from './gguf/lora-exporter';
import { packed } from './packed/exporter';
import { peft } from './peft/exporter';

export const exporters: readonly Exporter[] = [packed, dense, gguf, ggufLora, peft];

/** Throws `usage` for a format that does not exist, naming those that do. */
export function findExporter(id: string): Exporter {
  const found = exporters.find(exporter => exporter.id === id);
  if (found) return found;
  const known = exporters.map(exporter => exporter.id).join(', ');
  throw new LqError('usage', `There is no export format ${JSON.stringify(id)}; there are ${known}.`);
}
