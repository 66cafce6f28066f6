/** Every run as a row. */
import { useMemo } from 'preact/hooks';
import { formatBits, formatBytes, formatDate, formatNumber, formatPercent } from '../../extension/core/format';
import type { PerplexityRun, PerplexityView } from '../../extension/protocol/panels';
import { navigate } from '../shared/actions';
import type { Column } from '../shared/columns';
import { Name } from '../shared/Name';
import { Table } from '../shared/Table';
import type { PerplexityHost } from './host';

export function Runs(props: {
  host: PerplexityHost;
  view: PerplexityView;
  runs: readonly PerplexityRun[];
  selected: string;
  onSelect: (id: string) => void;
}) {
  const dense = props.runs.find(run => run.dense)?.perplexity;
  const columns = useMemo<Column<PerplexityRun>[]>(
    () => [
      {
        id: 'label',
        label: 'Run',
        width: 'minmax(180px, 1fr)',
        value: run => run.label,
        render: run => (
          <>
            <Name name={run.label} />
            {run.older && <span class="muted"> of older files</span>}
          </>
        ),
      },
      {
        id: 'bits',
        label: 'Effective bits',
        width: '88px',
        end: true,
        value: run => run.effectiveBits,
        render: run => formatBits(run.effectiveBits),
      },
      {
        id: 'bytes',
        label: 'Size',
        width: '70px',
        end: true,
        value: run => run.bytes,
        render: run => formatBytes(run.bytes),
      },
      {
        id: 'perplexity',
        label: 'Perplexity',
        width: '76px',
        end: true,
        value: run => run.perplexity,
        render: run => formatNumber(run.perplexity),
      },
      {
        id: 'change',
        label: 'To dense',
        width: '70px',
        end: true,
        value: run => (dense === undefined ? null : run.perplexity / dense - 1),
        render: run =>
          dense === undefined || run.dense ? '–' : `+${formatPercent(run.perplexity / dense - 1)}`.replace('+−', '−'),
      },
      {
        id: 'kl',
        label: 'KL',
        title: "Divergence of the predictions from the original's, nats a token",
        width: '62px',
        spare: 2,
        end: true,
        value: run => run.reference?.kl.mean,
        render: run => formatNumber(run.reference?.kl.mean),
      },
      {
        id: 'date',
        label: 'Date',
        width: '172px',
        spare: 1,
        value: run => run.date,
        render: run => (
          <button
            type="button"
            class="link"
            // One tab stop, on the selected row; the others are reached by selecting theirs.
            tabIndex={run.id === props.selected ? 0 : -1}
            title="Show what was evaluated in the Explorer"
            onClick={() => navigate(props.host, { to: 'explorer', model: run.model })}
          >
            {formatDate(run.date)}
          </button>
        ),
      },
    ],
    [dense, props.selected],
  );
  return (
    <Table
      host={props.host}
      what="runs"
      title="Runs"
      file={`${props.view.header.label}-runs`}
      columns={columns}
      rows={props.runs}
      rowKey={run => run.id}
      order={{ column: 'bits', descending: false }}
      selected={props.selected}
      onSelect={run => props.onSelect(run.id)}
      onOpen={run => navigate(props.host, { to: 'checkpoint', model: run.model })}
      fitRows={14}
      empty="No run on this text."
    />
  );
}
