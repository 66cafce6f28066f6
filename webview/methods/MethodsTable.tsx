/** The methods of one comparison, the best first; one that cannot meet the size says why. */
import { useMemo } from 'preact/hooks';
import { formatBits, formatBytes, formatDuration, formatNumber, formatPercent } from '../../extension/core/format';
import type { MethodsRow } from '../../extension/core/reports';
import type { MethodsView } from '../../extension/protocol/panels';
import type { Column } from '../shared/columns';
import { Table } from '../shared/Table';
import type { MethodsHost } from './host';

export function MethodsTable(props: {
  host: MethodsHost;
  /** The checkpoint's. */
  label: string;
  comparison: MethodsView['comparisons'][number];
}) {
  const { report } = props.comparison;
  const columns = useMemo<Column<MethodsRow>[]>(
    () => [
      { id: 'method', label: 'Method', width: '150px', value: row => row.label },
      {
        id: 'perplexity',
        label: 'Perplexity',
        width: '80px',
        end: true,
        value: row => row.perplexity,
        render: row => formatNumber(row.perplexity),
      },
      {
        id: 'change',
        label: 'To the original',
        width: '98px',
        end: true,
        value: row => (row.perplexity === undefined ? null : row.perplexity / report.dense - 1),
        render: row =>
          row.perplexity === undefined
            ? '–'
            : `+${formatPercent(row.perplexity / report.dense - 1)}`.replace('+−', '−'),
      },
      {
        id: 'bits',
        label: 'Effective bits',
        width: '92px',
        end: true,
        value: row => row.effectiveBits,
        render: row => formatBits(row.effectiveBits),
      },
      {
        id: 'bytes',
        label: 'Size',
        width: '70px',
        end: true,
        spare: 2,
        value: row => row.bytes,
        render: row => formatBytes(row.bytes),
      },
      {
        id: 'seconds',
        label: 'Time',
        width: '64px',
        end: true,
        spare: 1,
        value: row => row.seconds,
        render: row => (row.seconds === undefined ? '–' : formatDuration(row.seconds)),
      },
      {
        id: 'source',
        label: 'Source',
        title: 'Where the method was published, or why it is not in the comparison',
        width: 'minmax(200px, 1fr)',
        value: row => row.refused?.message ?? row.source,
      },
    ],
    [report],
  );
  return (
    <Table
      host={props.host}
      what="methods"
      title={`Methods at ${formatBits(report.effectiveBits)} effective bits`}
      file={`${props.label}-methods`}
      columns={columns}
      rows={report.rows}
      rowKey={row => row.method}
      fitRows={14}
      empty="No method was compared."
    />
  );
}
