/** A compression at work, or one that stopped before its end. */
import { formatBits, formatBytes, stageTitles } from '../../extension/core/format';
import type { JobState } from '../../extension/protocol/panels';
import { Button } from '../controls';
import { Icon } from '../shared/icons';
import { isActive, JobBar, Stopped } from '../shared/jobs';
import { Name } from '../shared/Name';
import type { CompressHost } from './host';

const titles: Record<JobState['state'], string> = {
  queued: 'Waiting',
  running: 'Compressing',
  done: 'Compressed',
  cancelled: 'Cancelled',
  interrupted: 'Interrupted',
  failed: 'Not finished',
};

export function JobProgress(props: { host: CompressHost; job: JobState; onEdit: () => void }) {
  const { host, job } = props;
  const { budget } = job.request;
  const whole = job.progress?.whole;
  return (
    <div class="scroll job">
      <h2>
        {titles[job.state]}
        <span class="muted">
          {' '}
          to{' '}
          {budget.kind === 'bytes'
            ? formatBytes(budget.value)
            : `${formatBits(budget.value)} ${budget.kind === 'bits' ? 'bits' : 'effective bits'}`}
          {job.request.ranks !== undefined && `, rank ${job.request.ranks.join(', ')}`}
        </span>
      </h2>
      {isActive(job) ? (
        <JobBar host={host} job={job} />
      ) : (
        <>
          <Stopped host={host} job={job} />
          <p>
            <Button onClick={props.onEdit}>Change the Form</Button>
          </p>
        </>
      )}
      {whole && (
        <ol class="stages">
          {whole.stages.map((stage, index) => {
            const state = index < whole.at ? 'done' : index === whole.at && isActive(job) ? 'now' : 'next';
            return (
              <li key={stage} class={state} aria-current={state === 'now' ? 'step' : undefined}>
                {state === 'done' ? <Icon name="check" /> : <i class="dot" />}
                {stageTitles[stage]}
                {state === 'done' && <span class="sr-only"> done</span>}
              </li>
            );
          })}
        </ol>
      )}
      <p class="muted">
        {isActive(job) && 'Goes on when this panel is closed; the status bar shows it. '}Output:{' '}
        <Name name={job.request.out} />
        {job.progress?.device !== undefined && `, on ${job.progress.device.slice(0, 80)}`}
      </p>
    </div>
  );
}
