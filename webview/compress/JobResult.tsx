/** What a compression changed, matrix by matrix, and what to do next. */
import { useMemo, useState } from 'preact/hooks';
import {
  formatBits,
  formatBytes,
  formatConfig,
  formatDuration,
  formatNumber,
  formatPercent,
} from '../../extension/core/format';
import type { CompressedMatrix, CompressReport, CompressRequest } from '../../extension/protocol/engine';
import type { ModelHeader } from '../../extension/protocol/panels';
import { Button, TextField } from '../controls';
import { csvFile, jsonFile } from '../shared/exportData';
import { save } from '../shared/Figure';
import { filterRows } from '../shared/filter';
import { gridData, isSort, sortRows, type Column, type Sort } from '../shared/columns';
import { Grid } from '../shared/Grid';
import { useSaved } from '../shared/host';
import { Icon } from '../shared/icons';
import { Name } from '../shared/Name';
import { notifyError } from '../shared/notices';
import type { CompressHost } from './CompressPanel';

export function JobResult(props: {
  host: CompressHost;
  header: ModelHeader;
  report: CompressReport;
  request: CompressRequest;
}) {
  const { host, header, report } = props;
  const go = (to: 'checkpoint' | 'heatmap' | 'perplexity' | 'export' | 'compare') => () =>
    void host
      .request(
        'navigate',
        to === 'compare'
          ? { to, model: report.model, other: report.output }
          : { to, model: to === 'heatmap' ? report.model : report.output },
      )
      .catch(notifyError);
  const seconds = Object.values(report.seconds).reduce((sum, one) => sum + one, 0);
  const { before, after } = report;
  const kept = header.bytes > 0 ? after.bytes / before.bytes : 0;
  return (
    <div class="scroll job">
      <div class="result-head">
        <div>
          <h2>
            <Icon name="check" /> Compressed in {formatDuration(seconds)}
          </h2>
          <p>
            <Name
              name={report.output}
              onClick={() => void host.request('openPath', { path: report.output }).catch(notifyError)}
            />
          </p>
        </div>
        <div class="result-actions">
          <Button primary onClick={go('checkpoint')}>
            Open Result
          </Button>
          <Button onClick={go('heatmap')}>Heatmap</Button>
          <Button onClick={go('perplexity')}>Evaluate</Button>
          <Button onClick={go('export')}>Export…</Button>
          <Button onClick={go('compare')}>Compare</Button>
        </div>
      </div>
      <table class="result-table">
        <thead>
          <tr>
            <td />
            <th scope="col">Before</th>
            <th scope="col">After</th>
            <th scope="col">Change</th>
          </tr>
        </thead>
        <tbody>
          <tr>
            <th scope="row">Size</th>
            <td>{formatBytes(before.bytes)}</td>
            <td>{formatBytes(after.bytes)}</td>
            <td>{formatPercent(kept - 1)}</td>
          </tr>
          <tr>
            <th scope="row">Bits per weight</th>
            <td>{formatBits(header.bitsPerWeight)}</td>
            <td>
              {formatBits(report.bits)} <span class="muted">({formatBits(report.effectiveBits)} effective)</span>
            </td>
            <td>{formatPercent(report.effectiveBits / header.bitsPerWeight - 1)}</td>
          </tr>
          {after.perplexity !== undefined && (
            <tr>
              <th scope="row">Perplexity</th>
              <td>{formatNumber(before.perplexity)}</td>
              <td>{formatNumber(after.perplexity)}</td>
              <td>
                {before.perplexity === undefined
                  ? '–'
                  : `+${formatPercent(after.perplexity / before.perplexity - 1)}`.replace('+−', '−')}
              </td>
            </tr>
          )}
        </tbody>
      </table>
      {report.warnings.map((warning, index) => (
        <p key={index} class="warning">
          <Icon name="warning" /> {warning.slice(0, 500)}
        </p>
      ))}
      <Matrices host={host} report={report} />
    </div>
  );
}

function Matrices({ host, report }: { host: CompressHost; report: CompressReport }) {
  const [query, setQuery] = useState('');
  const [selected, setSelected] = useState('');
  const [sort, setSort] = useSaved<Sort | null>(
    'resultSort',
    null,
    (value): value is Sort | null => value === null || isSort(value),
  );
  const columns = useMemo<Column<CompressedMatrix>[]>(
    () => [
      {
        id: 'name',
        label: 'Matrix',
        width: 'minmax(260px, 1fr)',
        value: row => row.name,
        render: row => <Name name={row.name} />,
      },
      {
        id: 'config',
        label: 'Configuration',
        title: '(b0, b1, b2, B0, B1) as in the paper',
        width: '140px',
        value: row => formatConfig(row.config),
      },
      { id: 'rank', label: 'Rank', width: '40px', end: true, value: row => row.rank },
      {
        id: 'bits',
        label: 'Bits',
        width: '44px',
        end: true,
        value: row => row.bits,
        render: row => formatBits(row.bits),
      },
      {
        id: 'effective',
        label: 'Effective',
        width: '60px',
        end: true,
        value: row => row.effectiveBits,
        render: row => formatBits(row.effectiveBits),
      },
      {
        id: 'bytes',
        label: 'Size',
        width: '64px',
        end: true,
        value: row => row.bytes,
        render: row => formatBytes(row.bytes),
      },
      {
        id: 'quantized',
        label: 'Quantised alone',
        title: 'Relative error without the low-rank part',
        width: '100px',
        end: true,
        value: row => row.errorQuantized,
        render: row => formatPercent(row.errorQuantized),
      },
      {
        id: 'lq',
        label: 'With low-rank',
        title: 'Relative error of Q + L1·L2',
        width: '88px',
        end: true,
        value: row => row.errorLq,
        render: row => formatPercent(row.errorLq),
      },
      {
        id: 'stored',
        label: 'As stored',
        title: 'Relative error with the factors as they are stored',
        width: '66px',
        end: true,
        value: row => row.errorStored,
        render: row => formatPercent(row.errorStored),
      },
    ],
    [],
  );
  const matching = useMemo(() => filterRows(report.matrices, row => row.name, query), [report, query]);
  const rows = useMemo(() => sortRows(matching, columns, sort ?? undefined), [matching, sort]);
  const name = 'compressed-matrices';
  return (
    <section class="result-matrices" aria-label="Matrices">
      <div class="toolbar flush">
        <h3>Matrices</h3>
        <TextField
          class="filter"
          label="Filter matrices"
          placeholder="Filter by name"
          icon="search"
          value={query}
          onInput={setQuery}
        />
        <div class="push toolbar-end">
          <Button
            icon="table"
            label="Save the matrices as CSV"
            onClick={() => save(host, csvFile(gridData(name, columns, rows)))}
          />
          <Button
            icon="file"
            label="Save the matrices as JSON"
            onClick={() => save(host, jsonFile(gridData(name, columns, rows)))}
          />
        </div>
      </div>
      <Grid
        label="Compressed matrices"
        columns={columns}
        rows={rows}
        rowKey={row => row.name}
        sort={sort ?? undefined}
        onSort={setSort}
        selected={selected}
        onSelect={row => setSelected(row.name)}
        onOpen={row =>
          void host.request('navigate', { to: 'checkpoint', model: report.output, tensor: row.name }).catch(notifyError)
        }
        fitRows={18}
        empty="No matrix matches the filter."
      />
    </section>
  );
}
