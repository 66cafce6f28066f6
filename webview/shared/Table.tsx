/** A grid under its head: what it holds, a filter, an order that is kept, and the export of exactly the rows shown. */
import type { ComponentChildren } from 'preact';
import { useMemo, useState } from 'preact/hooks';
import { formatInteger } from '../../extension/core/format';
import { TextField } from '../controls';
import { copyText } from './actions';
import { gridData, isSort, rowText, sortRows, type Column, type Sort } from './columns';
import { ExportMenu } from './ExportMenu';
import { filterRows } from './filter';
import { Grid } from './Grid';
import { isString, useSaved, type CommonHost } from './host';

export function Table<T>(props: {
  host: CommonHost;
  /** What the rows are, in the plural and small letters: `matrices`. */
  what: string;
  /** The grid's name for a screen reader, when it is more than what the rows are. */
  label?: string;
  /** Shown above the rows. */
  title?: string;
  /** Name of exported files, without extension. */
  file: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  rowKey: (row: T) => string;
  /** What the filter looks at; without it there is no filter. */
  text?: (row: T) => string;
  /** The order at first; the rows' own when absent. */
  order?: Sort;
  /** Controls at the head's end, before the export. */
  tools?: ComponentChildren;
  /** Row that is selected; the table keeps its own selection when there is no `onSelect`. */
  selected?: string | undefined;
  onSelect?: (row: T) => void;
  /** The tensor that a row is about, for the menu of a right click. */
  tensorOf?: (row: T) => string;
  /** Enter or double click. */
  onOpen?: (row: T) => void;
  /** Said when there are no rows at all. */
  empty: string;
  /** Grows with its rows up to this many, instead of filling its container. */
  fitRows?: number;
}) {
  const { columns, what, rowKey } = props;
  const [query, setQuery] = useSaved(`filter:${what}`, '', isString);
  const [sort, setSort] = useSaved<Sort | null>(
    `order:${what}`,
    props.order ?? null,
    (value): value is Sort | null => value === null || isSort(value),
  );
  const [own, setOwn] = useState<string>();
  const matching = useMemo(
    () => (props.text ? filterRows(props.rows, props.text, query) : props.rows),
    [props.rows, query],
  );
  const rows = useMemo(() => sortRows(matching, columns, sort ?? undefined), [matching, columns, sort]);
  const count =
    rows.length === props.rows.length ? '' : `${formatInteger(rows.length)} of ${formatInteger(props.rows.length)}`;
  return (
    <section class={props.fitRows === undefined ? 'pane' : 'table'} aria-label={props.title ?? `Table of ${what}`}>
      <div class="toolbar">
        {props.title && <h3>{props.title}</h3>}
        {props.text && (
          <TextField
            class="filter"
            label={`Filter ${what}`}
            placeholder="Filter by name"
            icon="search"
            value={query}
            onInput={setQuery}
          />
        )}
        <span class="muted number" role="status">
          {count}
        </span>
        <div class="push toolbar-end">
          {props.tools}
          <ExportMenu host={props.host} what={`the ${what}`} data={() => gridData(props.file, columns, rows)} />
        </div>
      </div>
      <Grid
        label={props.label ?? `${what.slice(0, 1).toUpperCase()}${what.slice(1)}`}
        columns={columns}
        rows={rows}
        rowKey={rowKey}
        sort={sort ?? undefined}
        onSort={setSort}
        selected={props.onSelect ? props.selected : own}
        onSelect={props.onSelect ?? (row => setOwn(rowKey(row)))}
        onCopy={row => copyText(props.host, rowText(columns, row), 'the row')}
        {...(props.tensorOf && { tensorOf: props.tensorOf })}
        {...(props.onOpen && { onOpen: props.onOpen })}
        {...(props.fitRows !== undefined && { fitRows: props.fitRows })}
        empty={props.rows.length > 0 ? 'No name matches. Clear the filter to see all.' : props.empty}
      />
    </section>
  );
}
