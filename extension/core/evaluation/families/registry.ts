/** The families that can be run. */
import { arcee } from './arcee';
import type { Family } from './family';
import { gemma } from './gemma';
import { gemma2 } from './gemma2';
import { gemma3 } from './gemma3';
import { granite } from './granite';
import { llama } from './llama';
import { ministral } from './ministral';
import { mistral } from './mistral';
import { olmo2 } from './olmo2';
import { olmo3 } from './olmo3';
import { qwen2 } from './qwen2';
import { qwen3 } from './qwen3';
import { seedOss } from './seed-oss';
import { smollm3 } from './smollm3';
import { stablelm } from './stablelm';
import { starcoder2 } from './starcoder2';

export const FAMILIES: ReadonlyMap<unknown, Family> = new Map(
  [
    ...[llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3, granite, smollm3, olmo2, olmo3, stablelm, starcoder2],
    ...[ministral, seedOss, arcee],
  ].map(family => [family.type, family]),
);

/** Modules that a family names otherwise than Llama, by kind of weight. */
export const familyModules = (
  config: Readonly<Record<string, unknown>> | undefined,
): Readonly<Record<string, string>> => FAMILIES.get(config?.['model_type'])?.modules ?? {};
