/**
 * A table for any number of rows: only the visible ones exist. Sortable, one row selected, driven by keyboard like an editor's
 * list (arrows, Page, Home, End, Enter), read out as a grid with the true number of rows.
 */
import type { ComponentChildren } from 'preact';
import { useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { fitColumns, type Column, type Sort } from './columns';

/** Matches `.grid-row` in grid.css. */
const ROW_HEIGHT = 22;
/** Rows kept above and below the visible ones, so that a fast wheel meets no blank. */
const OVERSCAN = 12;

/** What VS Code makes the menu of a row from: our commands for tensors instead of Cut, Copy and Paste. */
const contextOf = (tensor: string): string =>
  JSON.stringify({ webviewSection: 'tensor', tensor, preventDefaultContextMenuItems: true });

export function Grid<T>(props: {
  label: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  rowKey: (row: T) => string;
  sort?: Sort | undefined;
  onSort?: (sort: Sort) => void;
  selected?: string | undefined;
  onSelect?: (row: T) => void;
  /** Enter or double click. */
  onOpen?: (row: T) => void;
  /** The tensor that a row is about, for the menu of a right click. */
  tensorOf?: (row: T) => string;
  /** Ctrl+C on the selected row. */
  onCopy?: (row: T) => void;
  /** Said in place of the rows when there are none. */
  empty?: ComponentChildren;
  /** Grows with its rows up to this many, instead of filling its container. */
  fitRows?: number;
}) {
  const { rows, rowKey, selected } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const id = useId();
  const [view, setView] = useState({ first: 0, count: 40 });
  const [width, setWidth] = useState(Infinity);
  const columns = useMemo(() => fitColumns(props.columns, width), [props.columns, width]);

  const measure = () => {
    const element = scroller.current;
    if (!element) return;
    const first = Math.max(0, Math.floor(element.scrollTop / ROW_HEIGHT) - OVERSCAN);
    const count = Math.ceil(element.clientHeight / ROW_HEIGHT) + 2 * OVERSCAN;
    setView(old => (old.first === first && old.count === count ? old : { first, count }));
    setWidth(element.clientWidth);
  };
  useLayoutEffect(() => {
    measure();
    const observer = new ResizeObserver(measure);
    if (scroller.current) observer.observe(scroller.current);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    // Filtered rows start at the top, unless the selected one is among them and is shown below.
    if (scroller.current) scroller.current.scrollTop = 0;
    measure();
  }, [rows.length]);

  const selectedIndex = useMemo(
    () => (selected === undefined ? -1 : rows.findIndex(row => rowKey(row) === selected)),
    [rows, selected],
  );
  const reveal = (index: number) => {
    const element = scroller.current;
    if (!element || index < 0) return;
    const top = index * ROW_HEIGHT;
    // The heading covers the first row's height.
    const bottom = top + 2 * ROW_HEIGHT - element.clientHeight;
    if (element.scrollTop > top) element.scrollTop = top;
    else if (element.scrollTop < bottom) element.scrollTop = bottom;
  };
  useEffect(() => reveal(selectedIndex), [selectedIndex, rows.length]);

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.target !== scroller.current || !props.onSelect) return;
    if ((event.ctrlKey || event.metaKey) && event.key === 'c' && selectedIndex >= 0) {
      event.preventDefault();
      props.onCopy?.(rows[selectedIndex]!);
      return;
    }
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 0) / ROW_HEIGHT) - 2);
    const last = rows.length - 1;
    const targets: Record<string, number> = {
      ArrowDown: selectedIndex + 1,
      ArrowUp: selectedIndex - 1,
      PageDown: selectedIndex + page,
      PageUp: selectedIndex - page,
      Home: 0,
      End: last,
    };
    const target = targets[event.key];
    if (target !== undefined) {
      event.preventDefault();
      const row = rows[Math.min(last, Math.max(0, target))];
      if (row !== undefined) props.onSelect(row);
    } else if (event.key === 'Enter' && selectedIndex >= 0) {
      const row = rows[selectedIndex];
      if (row !== undefined) props.onOpen?.(row);
    }
  };

  const visible = rows.slice(view.first, view.first + view.count);
  const shownSelection = selectedIndex >= view.first && selectedIndex < view.first + view.count;
  return (
    <div
      ref={scroller}
      class={`grid ${props.fitRows === undefined ? 'fill' : ''} ${props.onSelect ? 'selectable' : ''}`}
      role="grid"
      tabIndex={0}
      aria-label={props.label}
      aria-rowcount={rows.length + 1}
      aria-colcount={columns.length}
      aria-activedescendant={shownSelection ? `${id}-${selectedIndex}` : undefined}
      style={{
        '--tracks': columns.map(column => column.width).join(' '),
        ...(props.fitRows !== undefined && {
          height: `${(Math.min(Math.max(rows.length, 1), props.fitRows) + 1) * ROW_HEIGHT + 12}px`,
        }),
      }}
      onScroll={measure}
      onKeyDown={onKeyDown}
    >
      <div role="rowgroup" class="grid-head">
        <div role="row" class="grid-row" aria-rowindex={1}>
          {columns.map(column => {
            const active = props.sort?.column === column.id;
            const descending = active && props.sort?.descending === true;
            return (
              <div
                key={column.id}
                role="columnheader"
                class={`grid-cell ${column.end ? 'end' : ''}`}
                aria-sort={active ? (descending ? 'descending' : 'ascending') : 'none'}
              >
                {props.onSort ? (
                  <button
                    type="button"
                    title={column.title ?? `Sort by ${column.label}`}
                    onClick={() =>
                      props.onSort?.({ column: column.id, descending: active ? !descending : column.end === true })
                    }
                  >
                    {column.label}
                    <span class="sort" aria-hidden="true">
                      {active ? (descending ? '↓' : '↑') : ''}
                    </span>
                  </button>
                ) : (
                  <span title={column.title}>{column.label}</span>
                )}
              </div>
            );
          })}
        </div>
      </div>
      <div role="rowgroup" class="grid-body" style={{ height: `${rows.length * ROW_HEIGHT}px` }}>
        {visible.map((row, offset) => {
          const index = view.first + offset;
          const isSelected = index === selectedIndex;
          return (
            <div
              key={index}
              id={`${id}-${index}`}
              role="row"
              class={`grid-row ${isSelected ? 'selected' : ''}`}
              aria-rowindex={index + 2}
              aria-selected={props.onSelect ? isSelected : undefined}
              style={{ transform: `translateY(${index * ROW_HEIGHT}px)` }}
              data-vscode-context={props.tensorOf && contextOf(props.tensorOf(row))}
              onContextMenu={() => props.onSelect?.(row)}
              onClick={() => props.onSelect?.(row)}
              onDblClick={() => props.onOpen?.(row)}
            >
              {columns.map(column => (
                <div key={column.id} role="gridcell" class={`grid-cell ${column.end ? 'end' : ''}`}>
                  {column.render ? column.render(row) : String(column.value(row) ?? '–')}
                </div>
              ))}
            </div>
          );
        })}
      </div>
      {rows.length === 0 && <div class="grid-empty">{props.empty ?? 'Nothing to show.'}</div>}
    </div>
  );
}
