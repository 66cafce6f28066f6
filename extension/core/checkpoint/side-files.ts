/** The small files beside the weights: tokenizer, generation settings, licence. */
import { joinPath } from '../files/paths';
import type { CheckpointIndex } from './types';
import type { PipelineContext } from '../context';

/** Files a model needs besides config.json and weights, as Hugging Face repositories name them. */
const SIDE_FILES =
  /^(generation_config\.json|tokenizer.*|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt|chat_template.*|.*\.tiktoken|.*processor_config\.json|LICEN[CS]E.*|NOTICE.*)$/i;

/** Copies side files into `folder`; a checkpoint without config.json has none of its own. */
export async function copySideFiles(context: PipelineContext, source: CheckpointIndex, folder: string): Promise<void> {
  if (!source.config) return;
  for (const name of await context.files.list(source.folder))
    if (SIDE_FILES.test(name)) await context.files.copyFile(joinPath(source.folder, name), joinPath(folder, name));
}
