/** What a compression changed, matrix by matrix, and what to do next. */
import { useMemo } from 'preact/hooks';
import {
  baseName,
  formatBits,
  formatBytes,
  formatCertificate,
  formatCoverage,
  formatDuration,
  formatNumber,
  formatPercent,
  weighing,
} from '../../extension/core/format';
import type { CompressedMatrix, CompressReport } from '../../extension/core/reports';
import type { CompressRequest } from '../../extension/core/requests/requests';
import type { ModelHeader } from '../../extension/protocol/panels';
import { Button } from '../controls';
import { navigate, openPath } from '../shared/actions';
import type { Column } from '../shared/columns';
import { Icon } from '../shared/icons';
import { Name } from '../shared/Name';
import { Table } from '../shared/Table';
import type { CompressHost } from './host';
import { DeliveredFiles } from './Loads';

export function JobResult(props: {
  host: CompressHost;
  header: ModelHeader;
  report: CompressReport;
  request: CompressRequest;
  /** The files of the original or of the result have changed since. */
  older: boolean;
}) {
  const { host, header, report } = props;
  const go = (to: 'checkpoint' | 'heatmap' | 'perplexity' | 'export' | 'compare') => () =>
    navigate(
      host,
      to === 'compare'
        ? { to, model: report.model, other: report.output }
        : { to, model: to === 'heatmap' ? report.model : report.output },
    );
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
            <Name name={report.output} onClick={() => openPath(host, report.output)} />
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
      {props.older && (
        <p class="warning">
          <Icon name="warning" /> The files have changed since: this is of older ones.
        </p>
      )}
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
          {after.kl !== undefined && after.sameTop !== undefined && (
            <>
              <tr>
                <th
                  scope="row"
                  title="Kullback-Leibler divergence of the predictions from the original's, nats a token"
                >
                  KL to the original
                </th>
                <td>–</td>
                <td>{formatNumber(after.kl.mean)}</td>
                <td>99 %: {formatNumber(after.kl.p99)}</td>
              </tr>
              <tr>
                <th scope="row">Same likeliest token</th>
                <td>–</td>
                <td>{formatPercent(after.sameTop)}</td>
                <td />
              </tr>
            </>
          )}
        </tbody>
      </table>
      <p class="muted">
        Plan {formatCertificate(report)}
        {report.fisher !== undefined && (
          <>
            {`, ${weighing[report.recipe.metric.kind]} from `}
            <Name name={report.fisher} onClick={() => openPath(host, report.fisher!)} />
          </>
        )}
        .
      </p>
      {report.coverage !== undefined && <p class="muted">Covers {formatCoverage(report.coverage)}.</p>}
      {report.warnings.map((warning, index) => (
        <p key={index} class="warning">
          <Icon name="warning" /> {warning.slice(0, 500)}
        </p>
      ))}
      <DeliveredFiles host={host} delivered={report.delivered} />
      <Matrices host={host} report={report} />
    </div>
  );
}

function Matrices({ host, report }: { host: CompressHost; report: CompressReport }) {
  /** Without a low-rank part there is one error, that of the codes. */
  const ranked = report.matrices.some(({ option }) => option.rank > 0);
  const columns = useMemo<Column<CompressedMatrix>[]>(
    () => [
      {
        id: 'name',
        label: 'Matrix',
        width: 'minmax(220px, 1fr)',
        value: row => row.name,
        render: row => <Name name={row.name} />,
      },
      {
        id: 'option',
        label: 'Option',
        title: 'What the matrix is stored as',
        width: '190px',
        spare: 4,
        value: row => row.label,
      },
      { id: 'rank', label: 'Rank', width: '40px', spare: 3, end: true, hidden: !ranked, value: row => row.option.rank },
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
        spare: 2,
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
        hidden: !ranked,
        label: 'Quantised alone',
        title: 'Relative error without the low-rank part',
        width: '100px',
        spare: 1,
        end: true,
        value: row => row.errorQuantized,
        render: row => formatPercent(row.errorQuantized),
      },
      {
        id: 'lq',
        hidden: !ranked,
        label: 'With low-rank',
        title: 'Relative error of Q + L1·L2',
        width: '88px',
        end: true,
        value: row => row.errorLq,
        render: row => formatPercent(row.errorLq),
      },
      {
        id: 'stored',
        label: ranked ? 'As stored' : 'Relative error',
        title: ranked
          ? 'Relative error with the factors as they are stored'
          : 'Norm of what is lost over the norm of the matrix',
        width: '92px',
        end: true,
        value: row => row.errorStored,
        render: row => formatPercent(row.errorStored),
      },
    ],
    [ranked],
  );
  return (
    <Table
      host={host}
      what="matrices"
      label="Compressed matrices"
      title={`Matrices, with relative errors ${weighing[report.recipe.metric.kind]}`}
      file={`${baseName(report.output)}-matrices`}
      columns={columns}
      rows={report.matrices}
      rowKey={row => row.name}
      tensorOf={row => row.name}
      text={row => row.name}
      onOpen={row => navigate(host, { to: 'checkpoint', model: report.output, tensor: row.name })}
      fitRows={18}
      empty="Nothing was compressed."
    />
  );
}
