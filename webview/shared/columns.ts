/** What a table's columns are, and its rows in another order or as data: all that Grid needs to be told. */
import type { ComponentChildren } from 'preact';
import type { Cell, Data } from './exportData';

export interface Column<T> {
  id: string;
  label: string;
  /** Longer explanation of the heading. */
  title?: string;
  /** A CSS grid track. */
  width: string;
  end?: boolean;
  /** What sorting sees, and exporting unless told otherwise. */
  value: (row: T) => Cell;
  /** What is exported, where that is not what sorting goes by. */
  exported?: (row: T) => Cell;
  /** What is shown; the value itself by default. Text is always set as text. */
  render?: (row: T) => ComponentChildren;
  /** Not shown, only exported. */
  hidden?: boolean;
  /** May be left out where there is no room for all: those with the highest number go first. It is exported all the same. */
  spare?: number;
}
export interface Sort {
  column: string;
  descending: boolean;
}

const collator = new Intl.Collator('en', { numeric: true });

/** Unknown values come last in either direction. */
function compareCells(a: Cell, b: Cell, direction: 1 | -1): number {
  const missing = (cell: Cell) => cell === null || cell === undefined || Number.isNaN(cell);
  if (missing(a) || missing(b)) return Number(missing(a)) - Number(missing(b));
  if (typeof a === 'string' && typeof b === 'string')
    return direction * collator.compare(a.slice(0, 512), b.slice(0, 512));
  return direction * (Number(a) - Number(b));
}

export function sortRows<T>(rows: readonly T[], columns: readonly Column<T>[], sort: Sort | undefined): readonly T[] {
  const column = sort && columns.find(({ id }) => id === sort.column);
  if (!column) return rows;
  const direction = sort.descending ? -1 : 1;
  return rows
    .map((row, index) => ({ row, index, key: column.value(row) }))
    .sort((a, b) => compareCells(a.key, b.key, direction) || a.index - b.index)
    .map(({ row }) => row);
}

/** Of grid.css: the space between columns, and what a row keeps free at its ends. */
const GAP = 14;
const PADDING = 32;

/** The least pixels of a CSS grid track: `62px`, or the first of `minmax(200px, 1fr)`. */
const leastWidth = (track: string): number => Number(/(\d+)px/.exec(track)?.[1] ?? 0);

/** The columns shown in a table so wide: spare ones go until the rest is not clipped. */
export function fitColumns<T>(columns: readonly Column<T>[], width: number): Column<T>[] {
  let shown = columns.filter(column => !column.hidden);
  const needed = () => PADDING + shown.reduce((sum, { width: track }) => sum + leastWidth(track) + GAP, -GAP);
  while (needed() > width) {
    const spare = Math.max(...shown.map(column => column.spare ?? 0));
    if (spare <= 0) break;
    shown = shown.filter(column => column.spare !== spare);
  }
  return shown;
}

/** The whole table, hidden columns too, for export. */
export function gridData<T>(name: string, columns: readonly Column<T>[], rows: readonly T[]): Data {
  return {
    name,
    columns: columns.map(column => column.label),
    rows: rows.map(row => columns.map(column => (column.exported ?? column.value)(row))),
  };
}

/** One row as text, its cells apart by tabs: a spreadsheet takes it as cells. */
export const rowText = <T>(columns: readonly Column<T>[], row: T): string =>
  columns.map(column => String((column.exported ?? column.value)(row) ?? '').replace(/[\t\r\n]+/g, ' ')).join('\t');

export const isSort = (value: unknown): value is Sort =>
  typeof value === 'object' && value !== null && 'column' in value && 'descending' in value;
