/** The only place that loads the Rust library of tokenizers: its own Node binding, beside the addon. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { Tokenizer } from 'tokenizers';
import { LqError } from '../core/errors';
import type { NativeTokenizer } from '../core/native';

/** As scripts/build.mjs names it. */
const BINARY = 'tokenizers.node';

/**
 * A tokenizer from the text of its tokenizer.json. Truncation and padding that the file asks for are left out: they are
 * meant for batches of prompts, and would silently shorten or lengthen a text.
 * @throws LqError 'native-missing' when the library is absent or does not load here; the library's own error, a sentence,
 *   when it cannot make use of the definition.
 */
export function openTokenizer(folder: string, definition: string): NativeTokenizer {
  const tokenizer = loadLibrary(folder).fromString(definition);
  tokenizer.disableTruncation();
  tokenizer.disablePadding();
  return {
    async encode(text) {
      const encoding = await tokenizer.encode(text, null, { addSpecialTokens: false });
      return encoding.getIds();
    },
    idOf: token => tokenizer.tokenToId(token) ?? undefined,
  };
}

function loadLibrary(folder: string): typeof Tokenizer {
  const file = path.join(folder, BINARY);
  if (!existsSync(file))
    throw new LqError('native-missing', 'The tokenizer library is not in place; run "npm run build".', { file });
  try {
    return (createRequire(file)(file) as { Tokenizer: typeof Tokenizer }).Tokenizer;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new LqError('native-missing', `The tokenizer library cannot be loaded on this machine: ${reason}`, { file });
  }
}
