/** The families that can be run. */
import { ConfigReader } from '../config-reader';
import { TEXT_CONFIGS } from './keys';
import { arcee } from './arcee';
import { bert } from './bert';
import { bloom } from './bloom';
import { cohere } from './cohere';
import { cwm } from './cwm';
import { dots1, solarOpen } from './dots1';
import { ernie45 } from './ernie4-5';
import { ernie45Moe } from './ernie4-5-moe';
import { eurobert } from './eurobert';
import { exaone4 } from './exaone4';
import { flexOlmo } from './flex-olmo';
import { graniteMoeShared } from './granitemoeshared';
import { helium } from './helium';
import { hunyuanDense } from './hunyuan';
import { hyperclovax } from './hyperclovax';
import { jais2 } from './jais2';
import { vaultgemma } from './vaultgemma';
import { cohere2 } from './cohere2';
import { distilbert } from './distilbert';
import { electra } from './electra';
import { falcon } from './falcon';
import { glm } from './glm';
import { glm4 } from './glm4';
import { gptBigcode } from './gpt-bigcode';
import { gptOss } from './gpt-oss';
import { gptNeo } from './gpt-neo';
import { gptNeox } from './gpt-neox';
import { gpt2 } from './gpt2';
import { gptj } from './gptj';
import { modernbert } from './modernbert';
import { mpt } from './mpt';
import { nemotron } from './nemotron';
import { olmo } from './olmo';
import { opt } from './opt';
import { persimmon } from './persimmon';
import { phi } from './phi';
import { phi3 } from './phi3';
import { camembert, roberta, xlmRoberta } from './roberta';
import type { Family, FamilyNames } from './family';
import { gemma } from './gemma';
import { gemma2 } from './gemma2';
import { gemma3 } from './gemma3';
import { granite } from './granite';
import { graniteMoe } from './granitemoe';
import { llama } from './llama';
import { llama4 } from './llama4';
import { glm4Moe } from './glm4-moe';
import { minimaxM2 } from './minimax-m2';
import { ministral } from './ministral';
import { ministral3 } from './ministral3';
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
    ...[
      ministral,
      ministral3,
      seedOss,
      arcee,
      phi,
      phi3,
      persimmon,
      gpt2,
      gptBigcode,
      gptNeo,
      gptNeox,
      gptj,
      falcon,
      opt,
      bloom,
      mpt,
    ],
    ...[
      mixtral,
      qwen2Moe,
      qwen3Moe,
      olmoe,
      glm4Moe,
      gptOss,
      graniteMoe,
      llama4,
      graniteMoeShared,
      flexOlmo,
      dots1,
      solarOpen,
      ernie45Moe,
      minimaxM2,
    ],
    ...[exaone4, ernie45, helium, hunyuanDense, cwm, hyperclovax, jais2, vaultgemma],
    ...[cohere, cohere2, nemotron, glm, glm4, olmo],
    ...[bert, roberta, xlmRoberta, camembert, distilbert, electra, modernbert, eurobert],
  ].map(family => [family.type, family]),
);

/** How the family of a checkpoint names its tensors. */
export function familyNames(config: Readonly<Record<string, unknown>> | undefined): FamilyNames {
  const resolved = config && resolveFamily(config);
  const family = resolved?.family;
  const modules = family?.modules ?? {};
  return {
    modules: typeof modules === 'function' ? modules(new ConfigReader(resolved!.config, '')) : modules,
    experts: family?.experts?.layouts ?? [],
    outer: family?.outer ?? {},
    transposed: family?.transposed ?? false,
  };
}

/** What a model's text is, where its configuration does not say. */
const TEXT_TYPES: Readonly<Record<string, string>> = {
  qwen2_vl: 'qwen2',
  qwen2_vl_text: 'qwen2',
  qwen2_5_vl: 'qwen2',
  qwen2_5_vl_text: 'qwen2',
  gemma3: 'gemma3_text',
  llava: 'llama',
  llava_next: 'llama',
};
/** Keys of the outer configuration that are about the text's network too. */
const OUTER_KEYS = ['tie_word_embeddings', 'quantization_config', 'auto_map', 'architectures'];

/**
 * The family of a configuration, and the configuration of the text's network as other keys have it: of a model for images
 * too, the text's own.
 */
export function resolveFamily(
  config: Readonly<Record<string, unknown>>,
): { family: Family; config: Readonly<Record<string, unknown>> } | undefined {
  const nested = TEXT_CONFIGS.map(key => config[key]).find(value => typeof value === 'object' && value !== null);
  const type = String(config['model_type']);
  if (nested === undefined || FAMILIES.has(type)) {
    const family = FAMILIES.get(type) ?? FAMILIES.get(TEXT_TYPES[type]);
    return family && { family, config };
  }
  const text = nested as Readonly<Record<string, unknown>>;
  const named = typeof text['model_type'] === 'string' ? text['model_type'] : TEXT_TYPES[type];
  const family = FAMILIES.get(named) ?? FAMILIES.get(TEXT_TYPES[named ?? '']);
  const outer = Object.fromEntries(OUTER_KEYS.filter(key => key in config).map(key => [key, config[key]]));
  return family && { family, config: { ...outer, ...text } };
}
