/** One run: what was measured, and everything needed to make it again. */
import {
  formatBits,
  formatBytes,
  formatDuration,
  formatInteger,
  formatNumber,
  formatPercent,
} from '../../extension/core/format';
import type { PerplexityRun } from '../../extension/protocol/panels';
import { Button } from '../controls';
import { copyCommand, navigate, openPath } from '../shared/actions';
import { Name } from '../shared/Name';
import { Fact } from '../shared/Panel';
import type { PerplexityHost } from './host';

export function Recipe(props: {
  host: PerplexityHost;
  run: PerplexityRun | undefined;
  onForget: (id: string) => void;
}) {
  const { host, run } = props;
  if (!run) return <p class="muted recipe">Select a run for its recipe.</p>;
  return (
    <section class="recipe" aria-label="Recipe">
      <h2>{run.label.slice(0, 200)}</h2>
      {run.older && <p class="bad">The files have changed since: this was measured on older ones.</p>}
      <dl class="facts">
        <Fact label="Perplexity" value={formatNumber(run.perplexity)} />
        <Fact label="Bits" value={formatBits(run.bits)} />
        <Fact label="Effective bits" value={formatBits(run.effectiveBits)} />
        <Fact label="Size" value={formatBytes(run.bytes)} />
        {run.reference && (
          <>
            <Fact
              label="KL to the original"
              value={formatNumber(run.reference.kl.mean)}
              title={`Divergence of the predictions from the original's, nats a token; 99 % are below ${formatNumber(run.reference.kl.p99)}`}
            />
            <Fact label="Same likeliest token" value={formatPercent(run.reference.sameTop)} />
          </>
        )}
        <Fact label="Tokens" value={formatInteger(run.tokens)} />
        <Fact label="Took" value={formatDuration(run.seconds)} title={run.device.slice(0, 100)} />
      </dl>
      <p>
        <Name name={run.model} onClick={() => navigate(host, { to: 'checkpoint', model: run.model })} />
        <br />
        <span class="muted">on </span>
        <Name name={run.text} onClick={() => openPath(host, run.text)} />
      </p>
      {run.recipe.length > 0 && (
        <table class="recipe-table">
          <tbody>
            {run.recipe.map(({ key, value, path }) => (
              <tr key={key}>
                <th scope="row">{key.slice(0, 100)}</th>
                <td>
                  <Name name={value} onClick={path === undefined ? undefined : () => openPath(host, path)} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <div class="recipe-actions">
        {run.request && (
          <Button onClick={() => copyCommand(host, { command: 'compress', request: run.request! })}>
            Copy Recipe as Command
          </Button>
        )}
        <Button onClick={() => props.onForget(run.id)} title="The run is forgotten; no file is touched">
          Forget Run
        </Button>
      </div>
    </section>
  );
}
