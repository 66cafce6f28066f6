/** README.md of what was written: from what, how, and the lines that load it. */

export interface Lines {
  readonly language: 'sh' | 'python';
  readonly lines: readonly string[];
}

export interface Recipe {
  readonly label: string;
  readonly format: string;
  /** What was chosen for each matrix. */
  readonly matrices: readonly { readonly name: string; readonly label: string }[];
  readonly load: readonly Lines[];
}

export function recipeReadme({ label, format, matrices, load }: Recipe): string {
  return [
    `# ${label}, ${format}`,
    '',
    `Written by LQ Studio from ${label}. What each matrix became was chosen by an integer program for the size of the result;`,
    'weights were rounded with feedback.',
    '',
    ...codeBlocks(load),
    '| weight | stored as |',
    '|---|---|',
    ...matrices.map(({ name, label: what }) => `| ${name} | ${what} |`),
    '',
  ].join('\n');
}

export const codeBlocks = (load: readonly Lines[]): string[] =>
  load.flatMap(({ language, lines }) => [`\`\`\`${language}`, ...lines, '```', '']);
