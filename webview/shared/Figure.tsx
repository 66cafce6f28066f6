/** A chart with its heading, its data as a table for those who cannot or would rather not look at it, and its exports. */
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { drawChart, type ChartHandle, type ChartSpec } from '../charts';
import type { Data } from './exportData';
import { ExportMenu } from './ExportMenu';
import { formatNumber } from '../../extension/core/format';
import type { CommonHost } from './host';
import { Icon } from './icons';

function Canvas({ spec, label, onReady }: { spec: ChartSpec; label: string; onReady: (handle: ChartHandle) => void }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const handle = useRef<ChartHandle | undefined>(undefined);
  useEffect(() => {
    if (!canvas.current) return;
    handle.current = drawChart(canvas.current, spec);
    onReady(handle.current);
    return () => handle.current?.dispose();
  }, []);
  useEffect(() => handle.current?.update(spec), [spec]);
  return (
    <div class="figure-canvas">
      <canvas ref={canvas} role="img" aria-label={label} />
    </div>
  );
}

/** The rows behind a picture. Long ones are cut here, never in the exported file. */
function DataTable({ data, label }: { data: Data; label: string }) {
  const limit = 500;
  return (
    <div class="data-table" tabIndex={0} role="region" aria-label={`${label}, as a table`}>
      <table>
        <thead>
          <tr>
            {data.columns.map(column => (
              <th key={column} scope="col">
                {column}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {data.rows.slice(0, limit).map((row, index) => (
            <tr key={index}>
              {row.map((cell, column) => (
                <td key={column} class={typeof cell === 'number' ? 'end' : ''}>
                  {typeof cell === 'number' ? formatNumber(cell) : String(cell ?? '–').slice(0, 240)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {data.rows.length > limit && (
        <p class="muted">
          The first {limit} of {data.rows.length.toLocaleString('en-US')} rows; CSV has them all.
        </p>
      )}
    </div>
  );
}

export function Figure(props: {
  host: CommonHost;
  title: string;
  /** What the picture shows, in a sentence, for screen readers. */
  label: string;
  data: Data;
  /** A chart, or any other picture with a canvas to save. */
  spec?: ChartSpec;
  children?: ComponentChildren;
  canvas?: () => HTMLCanvasElement | null | undefined;
  /** Controls beside the heading. */
  tools?: ComponentChildren;
  note?: ComponentChildren;
  class?: string;
}) {
  const [asTable, setAsTable] = useState(false);
  const handle = useRef<ChartHandle | undefined>(undefined);
  return (
    <section class={`figure ${props.class ?? ''}`} aria-label={props.title}>
      <header>
        <h3>{props.title}</h3>
        <div class="figure-tools">
          {props.tools}
          <button
            type="button"
            class="icon-button"
            aria-pressed={asTable}
            aria-label={`Show ${props.title} as a table`}
            title={asTable ? 'Show the picture' : 'Show as a table'}
            onClick={() => setAsTable(!asTable)}
          >
            <Icon name={asTable ? 'chart' : 'table'} />
          </button>
          <ExportMenu
            host={props.host}
            what={props.title}
            data={() => props.data}
            picture={() => props.canvas?.() ?? handle.current?.canvas}
            pictureShown={!asTable}
          />
        </div>
      </header>
      {asTable ? (
        <DataTable data={props.data} label={props.label} />
      ) : props.spec ? (
        <Canvas spec={props.spec} label={props.label} onReady={ready => (handle.current = ready)} />
      ) : (
        props.children
      )}
      {props.note && <p class="figure-note">{props.note}</p>}
    </section>
  );
}
