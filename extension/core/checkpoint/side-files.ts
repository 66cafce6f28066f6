/** The small files beside the weights: tokenizer, generation settings, licence, model card. */
import { joinPath } from '../files/paths';
import type { CheckpointIndex } from './types';
import type { PipelineContext } from '../context';

/** Files a model needs besides config.json and weights, as Hugging Face repositories name them. */
const SIDE_FILES =
  /^(generation_config\.json|tokenizer.*|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt|chat_template.*|.*\.tiktoken|.*processor_config\.json)$/i;
/** Licences and notices travel with the weights, and so does what their author said of them. */
const LEGAL = /^(?:LICEN[CS]E|NOTICE|COPYING|USE_POLICY).*$/i;
const CARD = /^README\.md$/i;
/** The name of the source's model card in what is made of it, whose README.md says how it was made. */
const CARRIED_CARD = 'MODEL_CARD.md';

/** Copies side files into `folder`. @param only `legal`: licence and model card alone, where the rest is in the file itself */
export async function copySideFiles(
  { files }: PipelineContext,
  source: CheckpointIndex,
  folder: string,
  only?: 'legal',
): Promise<void> {
  // A checkpoint without config.json has none of its own.
  if (!source.config && !source.gguf) return;
  const names = await files.list(source.folder);
  for (const name of names) {
    // What was made of a model carries that model's card on.
    const isCard = names.includes(CARRIED_CARD) ? name === CARRIED_CARD : CARD.test(name);
    if (!isCard && !LEGAL.test(name) && (only === 'legal' || !SIDE_FILES.test(name))) continue;
    await files.copyFile(joinPath(source.folder, name), joinPath(folder, isCard ? CARRIED_CARD : name));
  }
}

/** Whether a file of an output is its source's licence, notice or model card. */
export const isCarried = (name: string): boolean => name === CARRIED_CARD || LEGAL.test(name);
