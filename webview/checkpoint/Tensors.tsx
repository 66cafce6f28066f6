/** All tensors: searched and sorted without waiting, with their statistics as those become known. */
import { useMemo } from 'preact/hooks';
import { formatBits, formatBytes, formatCount, formatNumber, formatShape } from '../../extension/core/format';
import type { TensorStatistics } from '../../extension/core/analysis/types';
import type { CheckpointView, JobView, TensorRow } from '../../extension/protocol/panels';
import { Button } from '../controls';
import type { Column } from '../shared/columns';
import { Icon } from '../shared/icons';
import { cancelJob } from '../shared/jobs';
import { Name } from '../shared/Name';
import { describeProgress } from '../shared/progress';
import { Table } from '../shared/Table';
import type { CheckpointHost, StatisticsByName } from './host';

export function Tensors(props: {
  host: CheckpointHost;
  view: CheckpointView;
  statistics: StatisticsByName;
  selected: string | undefined;
  onSelect: (row: TensorRow) => void;
  /** Statistics of all tensors being computed. */
  scan: JobView | undefined;
  onScan: () => void;
}) {
  const { view, statistics, scan } = props;
  const columns = useMemo<Column<TensorRow>[]>(() => {
    const known = (pick: (s: TensorStatistics) => number) => (row: TensorRow) => {
      const found = statistics.get(row.name);
      return found ? pick(found) : null;
    };
    return [
      {
        id: 'name',
        label: 'Name',
        width: 'minmax(262px, 1fr)',
        value: row => row.name,
        render: row => <Name name={row.name} />,
      },
      {
        id: 'role',
        label: 'Role',
        width: '76px',
        spare: 6,
        value: row => row.role,
        render: row => <span class="muted">{row.role}</span>,
      },
      {
        id: 'shape',
        label: 'Shape',
        width: '104px',
        end: true,
        value: row => row.parameters,
        exported: row => row.shape.join('x'),
        render: row => formatShape(row.shape),
      },
      { id: 'dtype', label: 'Type', width: '56px', spare: 4, value: row => row.dtype },
      {
        id: 'parameters',
        label: 'Parameters',
        width: '74px',
        spare: 5,
        end: true,
        value: row => row.parameters,
        render: row => formatCount(row.parameters),
      },
      {
        id: 'bytes',
        label: 'Size',
        width: '62px',
        end: true,
        value: row => row.bytes,
        render: row => formatBytes(row.bytes),
      },
      {
        id: 'bits',
        label: 'Bits',
        title: 'Stored bits per weight',
        width: '40px',
        end: true,
        value: row => row.bitsPerWeight,
        render: row => formatBits(row.bitsPerWeight),
      },
      ...(statistics.size > 0
        ? [
            {
              id: 'absmax',
              label: 'Absmax',
              width: '68px',
              spare: 1,
              end: true,
              value: known(s => s.absmax),
              render: (row: TensorRow) => formatNumber(known(s => s.absmax)(row), 3),
            },
            {
              id: 'stddev',
              label: 'Std dev',
              width: '68px',
              spare: 2,
              end: true,
              value: known(s => s.stddev),
              render: (row: TensorRow) => formatNumber(known(s => s.stddev)(row), 3),
            },
            {
              id: 'bad',
              label: 'NaN, Inf',
              width: '60px',
              spare: 3,
              end: true,
              value: known(s => s.nans + s.infs),
              render: (row: TensorRow) => {
                const bad = known(s => s.nans + s.infs)(row);
                return bad ? (
                  <span class="bad">
                    <Icon name="warning" /> {bad}
                  </span>
                ) : (
                  formatNumber(bad)
                );
              },
            },
          ]
        : []),
    ];
  }, [statistics]);

  return (
    <Table
      host={props.host}
      what="tensors"
      file={`${view.header.label}-tensors`}
      columns={columns}
      rows={view.rows}
      rowKey={row => row.name}
      tensorOf={row => row.name}
      text={row => row.name}
      tools={
        scan ? (
          <>
            <span class="muted number" role="status">
              {scan.progress ? describeProgress(scan.progress) : 'Statistics: waiting'}
            </span>
            {!scan.elsewhere && <Button onClick={() => void cancelJob(props.host, scan)}>Cancel</Button>}
          </>
        ) : (
          <Button
            disabled={!view.canCompute || statistics.size >= view.rows.length}
            title={view.canCompute ? 'Read every weight once' : 'Trust this workspace to compute'}
            onClick={props.onScan}
          >
            Compute Statistics
          </Button>
        )
      }
      selected={props.selected}
      onSelect={props.onSelect}
      empty="This file holds no tensors."
    />
  );
}
