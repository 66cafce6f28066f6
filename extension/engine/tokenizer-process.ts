/**
 * The process of one tokenizer: the only place that loads the Rust library, by its own Node binding beside the addon. A bundle
 * of its own, which starts in a fraction of the engine's time.
 */
import { createRequire } from 'node:module';
import type { Tokenizer } from 'tokenizers';

/** The first has the library and the definition and gets no answer of its own; each of the others gets one, in order. */
export type Question =
  | { readonly binary: string; readonly definition: string }
  | { readonly encode: string }
  | { readonly idOf: string }
  /** Whether it is ready. */
  | Record<string, never>;

export interface Answer {
  readonly value?: number[] | number | undefined;
  /** Why there is no value, in the library's words. */
  readonly error?: string;
  /** The library itself does not load. */
  readonly missing?: boolean;
}

/** Answers one question after another until the parent is gone. */
function serve(send: (answer: Answer) => void): void {
  let opened: { tokenizer: Tokenizer } | Answer = { error: 'no tokenizer was opened' };
  let last: Promise<void> = Promise.resolve();
  process.on('disconnect', () => process.exit(0));
  process.on('message', (question: Question) => {
    if ('binary' in question) opened = open(question.binary, question.definition);
    else
      last = last.then(async () => {
        send('tokenizer' in opened ? await answer(opened.tokenizer, question) : opened);
      });
  });
}

/** Truncation and padding that the file asks for are left out: they are meant for batches of prompts. */
function open(binary: string, definition: string): { tokenizer: Tokenizer } | Answer {
  let library: { Tokenizer: typeof Tokenizer };
  try {
    library = createRequire(binary)(binary) as { Tokenizer: typeof Tokenizer };
  } catch (error) {
    return { missing: true, error: `The tokenizer library cannot be loaded on this machine: ${sentence(error)}` };
  }
  try {
    const tokenizer = library.Tokenizer.fromString(definition);
    tokenizer.disableTruncation();
    tokenizer.disablePadding();
    return { tokenizer };
  } catch (error) {
    return { error: sentence(error) };
  }
}

async function answer(tokenizer: Tokenizer, question: Exclude<Question, { binary: string }>): Promise<Answer> {
  try {
    if ('encode' in question) {
      const encoding = await tokenizer.encode(question.encode, null, { addSpecialTokens: false });
      return { value: encoding.getIds() };
    }
    return 'idOf' in question ? { value: tokenizer.tokenToId(question.idOf) ?? undefined } : {};
  } catch (error) {
    return { error: sentence(error) };
  }
}

const sentence = (error: unknown): string => (error instanceof Error ? error.message : String(error));

if (process.send === undefined) throw new Error('This is started by the engine.');
serve(process.send.bind(process));
