/** One tensor: what it is, its values, spectrum and picture, and its twin in the other checkpoint. */
import { formatBits, formatBytes, formatCount, formatInteger, formatShape } from '../../extension/core/format';
import type { TensorStatistics } from '../../extension/core/analysis/types';
import type { CheckpointView, TensorRow } from '../../extension/protocol/panels';
import { copyCommand, copyText, openPath } from '../shared/actions';
import { Icon } from '../shared/icons';
import { Name, shortName } from '../shared/Name';
import { Fact } from '../shared/Panel';
import type { CheckpointHost } from './host';
import { Pictures } from './Pictures';
import { Spectrum } from './Spectrum';
import { Statistics } from './Statistics';
import { Twin } from './Twin';

interface Props {
  host: CheckpointHost;
  view: CheckpointView;
  row: TensorRow;
}

export function TensorDetail({ host, view, row, statistics }: Props & { statistics: TensorStatistics | undefined }) {
  const file = view.files[row.file];
  const matrix = row.shape.length === 2 && Math.min(...row.shape) > 1;
  return (
    <article class="detail" aria-label={`Tensor ${shortName(row.name)}`}>
      <div>
        <div class="detail-name">
          <h2 title={row.name.slice(0, 1000)}>{shortName(row.name)}</h2>
          <button
            type="button"
            class="icon-button push"
            aria-label="Copy as command line"
            title="Copy as command line"
            onClick={() =>
              copyCommand(host, { command: 'stats', request: { model: view.header.path, tensors: [row.name] } })
            }
          >
            <Icon name="terminal" />
          </button>
          <button
            type="button"
            class="icon-button"
            aria-label="Copy the name"
            title="Copy the name"
            onClick={() => copyText(host, row.name, 'the name')}
          >
            <Icon name="copy" />
          </button>
        </div>
        {file && (
          <p class="muted">
            {row.layer >= 0 ? `${row.role}, layer ${row.layer}, in ` : `${row.role}, in `}
            <Name name={file.name} onClick={() => openPath(host, file.path)} />
          </p>
        )}
      </div>
      <dl class="facts">
        <Fact label="Shape" value={formatShape(row.shape)} />
        <Fact label="Type" value={row.dtype.slice(0, 60)} />
        <Fact label="Parameters" value={formatCount(row.parameters)} title={formatInteger(row.parameters)} />
        <Fact label="Size" value={formatBytes(row.bytes)} title={`${formatInteger(row.bytes)} bytes`} />
        <Fact label="Bits per weight" value={formatBits(row.bitsPerWeight)} />
      </dl>
      {row.parts && row.parts.length > 1 && <Parts parts={row.parts} />}
      {view.canCompute ? (
        <>
          <Statistics host={host} row={row} statistics={statistics} />
          {matrix && <Spectrum host={host} row={row} />}
          {row.parameters > 1 && <Pictures host={host} row={row} />}
          {view.twins.length > 0 && matrix && <Twin host={host} view={view} row={row} statistics={statistics} />}
        </>
      ) : (
        <p class="muted">Values are not read in Restricted Mode. Trust this workspace to see them.</p>
      )}
    </article>
  );
}

function Parts({ parts }: { parts: NonNullable<TensorRow['parts']> }) {
  return (
    <section aria-label="Stored parts">
      <h3>Stored as</h3>
      <table class="parts">
        <tbody>
          {parts.map(part => (
            <tr key={part.name}>
              <td>
                <Name name={part.name} />
              </td>
              <td>{part.dtype}</td>
              <td class="end">{formatShape(part.shape)}</td>
              <td class="end">{formatBytes(part.bytes)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
