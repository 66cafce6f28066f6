/** Will it load? Every program's answer, of what is to be written and of what was. */
import type { Delivered } from '../../extension/core/export/delivered';
import type { Verdict } from '../../extension/core/export/loads/loads';
import { formatBytes } from '../../extension/core/format';
import { Button } from '../controls';
import { copyText } from '../shared/actions';
import { Icon } from '../shared/icons';
import type { CompressHost } from './host';

/** In the order they are listed in: what one can do with it first. */
const ANSWERS = {
  yes: { icon: 'check', word: 'yes' },
  unknown: { icon: 'info', word: 'not known' },
  no: { icon: 'error', word: 'no' },
} as const satisfies Record<Verdict['loads'], unknown>;

export function Loads({ verdicts }: { verdicts: readonly Verdict[] }) {
  const order = Object.keys(ANSWERS);
  const sorted = [...verdicts].sort((a, b) => order.indexOf(a.loads) - order.indexOf(b.loads));
  return (
    <table class="loads">
      <caption>Will it load?</caption>
      <tbody>
        {sorted.map(({ program, version, loads, why }) => (
          <tr key={program}>
            <th scope="row" title={`What ${program} ${version} was read to do`}>
              {program}
            </th>
            <td class={loads === 'no' ? 'muted' : ''}>
              <Icon name={ANSWERS[loads].icon} /> {ANSWERS[loads].word}
              {why.length > 0 && <span class="muted">: {why.join('; ').slice(0, 300)}</span>}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** What was written and read back, and lines that load it. */
export function DeliveredFiles({ host, delivered }: { host: CompressHost; delivered: Delivered }) {
  const { format, files, checks, loads, load, carried } = delivered;
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  return (
    <section class="delivered" aria-label="What was written">
      <div>
        <h3>{format}</h3>
        <p class="muted">
          {files.length === 1 ? '1 file' : `${files.length} files`}, {formatBytes(bytes)}
          {carried.length > 0 && `; ${carried.join(', ').slice(0, 200)} of the original beside them`}.
        </p>
        {checks.map(check => (
          <p key={check} class="muted">
            <Icon name="check" /> {check.slice(0, 300)}
          </p>
        ))}
        <Loads verdicts={loads} />
      </div>
      <div>
        <h3>Load it</h3>
        {load.map(({ language, lines }) => {
          const text = lines.join('\n');
          return (
            <div key={text} class="lines">
              <pre tabIndex={0} aria-label={`Lines of ${language} that load it`}>
                {text.slice(0, 2000)}
              </pre>
              <Button onClick={() => copyText(host, text, 'the lines')}>Copy</Button>
            </div>
          );
        })}
      </div>
    </section>
  );
}
