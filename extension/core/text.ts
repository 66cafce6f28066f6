/** Foreign text made fit to be shown: names of tensors and files, values of metadata, first lines of files. */

/**
 * Characters that do something else than show themselves: controls (a terminal obeys those of C0 and C1), line and paragraph
 * separators, marks that turn the writing direction, zero-width ones, and halves of surrogate pairs.
 */
const UNPRINTABLE =
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

const escaped = (character: string): string =>
  SHORT[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** The text with what cannot be seen written as escapes (`\u202e`). */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, escaped);
}

/** The text in at most `most` characters: the middle is left out, for names differ at both ends. */
export function shortened(text: string, most: number): string {
  if (text.length <= most) return text;
  const head = Math.ceil((most - 1) / 2);
  return `${text.slice(0, head)}…${text.slice(text.length - (most - 1 - head))}`;
}

/** A name as it may appear in a sentence: in quotes, escaped, and short however long it is. */
export function quoteName(name: string): string {
  return `"${printable(shortened(name, 120).replace(/[\\"]/g, '\\$&'))}"`;
}

/** JSON whose text shows itself everywhere: what a terminal would obey is written as the escape JSON has for it. */
export function printableJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(UNPRINTABLE, character =>
    character === '\n' ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
