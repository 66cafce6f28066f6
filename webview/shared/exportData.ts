/** Turns what a panel shows into files, which the host then saves. */
import { formatNumber } from '../../extension/core/format';
import type { SavedFile } from '../../extension/protocol/panels';

export type Cell = string | number | boolean | null | undefined;
export interface Data {
  /** File name without extension. */
  name: string;
  columns: readonly string[];
  rows: readonly (readonly Cell[])[];
}

/** A text that a spreadsheet would run as a formula is led by an apostrophe. */
function csvCell(cell: Cell): string {
  if (cell === null || cell === undefined) return '';
  if (typeof cell !== 'string') return String(cell);
  const text = /^[=+\-@\t\r]/.test(cell) ? `'${cell}` : cell;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** RFC 4180. */
export function toCsv({ columns, rows }: Data): string {
  return [columns, ...rows].map(row => row.map(csvCell).join(',')).join('\r\n') + '\r\n';
}

/** An array of objects keyed by column. */
export function toJson({ columns, rows }: Data): string {
  return JSON.stringify(
    rows.map(row => Object.fromEntries(columns.map((column, index) => [column, row[index] ?? null]))),
    null,
    2,
  );
}

/** Text as text, whatever of Markdown or HTML a stranger's name holds. */
const markdownText = (text: string): string =>
  text
    .replace(/[\\`*_~[\]|]/g, '\\$&')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replace(/[\r\n]+/g, ' ');

/** Whole numbers stay whole; measured ones get the digits that are shown. */
function markdownCell(cell: Cell): string {
  if (cell === null || cell === undefined) return '–';
  if (typeof cell !== 'number') return markdownText(String(cell));
  return Number.isSafeInteger(cell) ? String(cell) : formatNumber(cell);
}

/** A GitHub-flavoured table, numbers to the right. */
export function toMarkdown({ columns, rows }: Data): string {
  const numeric = columns.map((_column, index) => typeof rows.find(row => row[index] !== null)?.[index] === 'number');
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [
    line(columns.map(markdownText)),
    line(numeric.map(isNumber => (isNumber ? '---:' : '---'))),
    ...rows.map(row => line(columns.map((_column, index) => markdownCell(row[index])))),
    '',
  ].join('\n');
}

/** A name that every file system takes. */
const fileName = (name: string): string => name.replace(/[^\w.-]+/g, '-').slice(0, 80) || 'export';

export function csvFile(data: Data): SavedFile {
  return { name: `${fileName(data.name)}.csv`, type: 'csv', data: toCsv(data) };
}
export function jsonFile(data: Data): SavedFile {
  return { name: `${fileName(data.name)}.json`, type: 'json', data: toJson(data) };
}
export function markdownFile(data: Data): SavedFile {
  return { name: `${fileName(data.name)}.md`, type: 'md', data: toMarkdown(data) };
}
export function pngFile(name: string, canvas: HTMLCanvasElement): SavedFile {
  const data = canvas.toDataURL('image/png');
  return { name: `${fileName(name)}.png`, type: 'png', data: data.slice(data.indexOf(',') + 1) };
}
