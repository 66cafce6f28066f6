/** What the headers say beside the tensors: files, their metadata, and what is wrong with them. */
import { formatBytes } from '../../extension/core/format';
import type { CheckpointView } from '../../extension/protocol/panels';
import { openPath } from '../shared/actions';
import type { Column } from '../shared/columns';
import { Icon } from '../shared/icons';
import { Name } from '../shared/Name';
import { Table } from '../shared/Table';
import type { CheckpointHost } from './host';

interface Props {
  host: CheckpointHost;
  view: CheckpointView;
}

export function Files({ host, view }: Props) {
  const columns: Column<CheckpointView['files'][number]>[] = [
    {
      id: 'name',
      label: 'File',
      width: 'minmax(260px, 1fr)',
      value: file => file.name,
      render: file => <Name name={file.name} onClick={() => openPath(host, file.path)} />,
    },
    { id: 'tensors', label: 'Tensors', width: '80px', end: true, value: file => file.tensors },
    {
      id: 'bytes',
      label: 'Size',
      width: '90px',
      end: true,
      value: file => file.bytes,
      render: file => (file.missing ? '–' : formatBytes(file.bytes)),
    },
    {
      id: 'state',
      label: 'State',
      width: '120px',
      value: file => (file.missing ? 'missing' : 'read'),
      render: file =>
        file.missing ? (
          <span class="bad">
            <Icon name="error" /> missing
          </span>
        ) : (
          <span class="muted">read</span>
        ),
    },
  ];
  return (
    <Table
      host={host}
      what="files"
      file={`${view.header.label}-files`}
      columns={columns}
      rows={view.files}
      rowKey={file => file.path}
      onOpen={file => openPath(host, file.path)}
      empty="No files were found."
    />
  );
}

export function Metadata({ host, view }: Props) {
  type Entry = CheckpointView['metadata'][number];
  const columns: Column<Entry>[] = [
    { id: 'key', label: 'Key', width: '200px', value: entry => entry.key, render: entry => <Name name={entry.key} /> },
    {
      id: 'value',
      label: 'Value',
      width: 'minmax(300px, 1fr)',
      value: entry => entry.value,
      render: entry => <Name name={entry.value} />,
    },
    {
      id: 'file',
      label: 'File',
      width: '260px',
      value: entry => entry.file,
      render: entry => <Name name={entry.file} />,
    },
  ];
  return (
    <Table
      host={host}
      what="metadata"
      file={`${view.header.label}-metadata`}
      columns={columns}
      rows={view.metadata}
      text={entry => `${entry.key} ${entry.value.slice(0, 1000)}`}
      rowKey={entry => `${entry.file}\n${entry.key}`}
      empty="The files carry no metadata."
    />
  );
}

export function Problems({ view, onSelect }: { view: CheckpointView; onSelect: (tensor: string) => void }) {
  if (view.problems.length === 0) return <p class="grid-empty">No problems were found in the headers.</p>;
  return (
    <ul class="problems scroll">
      {view.problems.map((problem, index) => (
        <li key={index}>
          <Icon name={problem.severity === 'information' ? 'info' : problem.severity} class={problem.severity} />
          <span class="sr-only">{problem.severity}: </span>
          <span>
            {problem.message.slice(0, 1000)} <span class="muted">{problem.code.slice(0, 80)}</span>
          </span>
          {problem.tensor !== undefined && <Name name={problem.tensor} onClick={() => onSelect(problem.tensor!)} />}
        </li>
      ))}
    </ul>
  );
}
