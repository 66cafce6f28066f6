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
  /** What sorting and exporting see. */
  value: (row: T) => Cell;
  /** What is shown; the value itself by default. Text is always set as text. */
  render?: (row: T) => ComponentChildren;
  /** Not shown, only exported. */
  hidden?: boolean;
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

/** The whole table, hidden columns too, for export. */
export function gridData<T>(name: string, columns: readonly Column<T>[], rows: readonly T[]): Data {
  return {
    name,
    columns: columns.map(column => column.label),
    rows: rows.map(row => columns.map(column => column.value(row))),
  };
}

export const isSort = (value: unknown): value is Sort =>
  typeof value === 'object' && value !== null && 'column' in value && 'descending' in value;
