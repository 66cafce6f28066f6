/** The architectures of llama.cpp that checkpoints can be written for and read from. */
import type { Architecture } from './architecture';
import { arcee } from './arcee';
import { bloom } from './bloom';
import { cohere } from './cohere';
import { cohere2 } from './cohere2';
import { dots1 } from './dots1';
import { ernie45 } from './ernie4-5';
import { exaone4 } from './exaone4';
import { falcon } from './falcon';
import { gemma } from './gemma';
import { gemma2 } from './gemma2';
import { gemma3 } from './gemma3';
import { glm } from './glm';
import { glm4 } from './glm4';
import { glm4Moe } from './glm4-moe';
import { gpt2 } from './gpt2';
import { gptBigcode } from './gpt-bigcode';
import { gptNeox } from './gptneox';
import { gptOss } from './gpt-oss';
import { granite } from './granite';
import { graniteMoe } from './granite-moe';
import { jais2 } from './jais2';
import { llama } from './llama';
import { mpt } from './mpt';
import { nemotron } from './nemotron';
import { olmo } from './olmo';
import { olmo2 } from './olmo2';
import { olmoe } from './olmoe';
import { phi2 } from './phi2';
import { phi3 } from './phi3';
import { qwen2 } from './qwen2';
import { qwen2Moe } from './qwen2-moe';
import { qwen3 } from './qwen3';
import { qwen3Moe } from './qwen3-moe';
import { seedOss } from './seed-oss';
import { smollm3 } from './smollm3';
import { stablelm } from './stablelm';
import { starcoder2 } from './starcoder2';

const ARCHITECTURES: readonly Architecture[] = [
  ...[llama, qwen2, qwen3, qwen2Moe, qwen3Moe, gemma, gemma2, gemma3, phi3, olmo, olmo2, olmoe, granite, smollm3],
  ...[seedOss, arcee, starcoder2, stablelm, nemotron, gpt2, gptBigcode, falcon, cohere, cohere2, glm4],
  ...[gptNeox, bloom, mpt, phi2, ernie45, glm, exaone4, jais2, glm4Moe, dots1, gptOss, graniteMoe],
];

const BY_MODEL: ReadonlyMap<unknown, Architecture> = new Map(
  ARCHITECTURES.flatMap(architecture => architecture.models.map(model => [model, architecture] as const)),
);

const BY_NAME: ReadonlyMap<unknown, Architecture> = new Map(
  ARCHITECTURES.map(architecture => [architecture.name, architecture] as const),
);

/** The architecture of a value of general.architecture, or undefined for one that is not known here. */
export const architectureNamed = (name: unknown): Architecture | undefined => BY_NAME.get(name);

/** The architecture that runs a `model_type`, or undefined. */
export const architectureOf = (modelType: unknown): Architecture | undefined => BY_MODEL.get(modelType);
