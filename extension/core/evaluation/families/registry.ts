/** The families that can be run. */
import { arcee } from './arcee';
import type { FamilyNames } from '../weights';
import type { Family } from './family';
import { gemma } from './gemma';
import { gemma2 } from './gemma2';
import { gemma3 } from './gemma3';
import { granite } from './granite';
import { llama } from './llama';
import { glm4Moe } from './glm4-moe';
import { ministral } from './ministral';
import { mistral } from './mistral';
import { mixtral } from './mixtral';
import { olmo2 } from './olmo2';
import { olmo3 } from './olmo3';
import { olmoe } from './olmoe';
import { qwen2 } from './qwen2';
import { qwen2Moe } from './qwen2-moe';
import { qwen3 } from './qwen3';
import { qwen3Moe } from './qwen3-moe';
import { seedOss } from './seed-oss';
import { smollm3 } from './smollm3';
import { stablelm } from './stablelm';
import { starcoder2 } from './starcoder2';

export const FAMILIES: ReadonlyMap<unknown, Family> = new Map(
  [
    ...[llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3, granite, smollm3, olmo2, olmo3, stablelm, starcoder2],
    ...[ministral, seedOss, arcee, mixtral, qwen2Moe, qwen3Moe, olmoe, glm4Moe],
  ].map(family => [family.type, family]),
);

/** How the family of a checkpoint names its tensors where Llama names them otherwise. */
export function familyNames(config: Readonly<Record<string, unknown>> | undefined): FamilyNames {
  const family = FAMILIES.get(config?.['model_type']);
  return { modules: family?.modules ?? {}, experts: family?.experts?.layouts ?? [] };
}
