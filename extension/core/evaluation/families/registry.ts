/** The families that can be run. */
import type { Family } from './family';
import { llama } from './llama';
import { mistral } from './mistral';
import { qwen2 } from './qwen2';
import { qwen3 } from './qwen3';

export const FAMILIES: ReadonlyMap<unknown, Family> = new Map(
  [llama, mistral, qwen2, qwen3].map(family => [family.type, family]),
);
