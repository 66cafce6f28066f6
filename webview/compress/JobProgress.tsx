/** A compression at work, or one that stopped before its end. */
import { formatBits, formatBytes, formatDuration, formatInteger } from '../../extension/core/format';
import type { Stage } from '../../extension/core/progress';
import type { JobState } from '../../extension/protocol/panels';
import { Button } from '../controls';
import { Icon } from '../shared/icons';
import { Name } from '../shared/Name';
import { notifyError } from '../shared/notices';
import { Elapsed, Failure } from '../shared/Panel';
import { ProgressBar } from '../shared/ProgressBar';
import type { CompressHost } from './host';

const titles: Record<Stage, string> = {
  open: 'Opening the checkpoint',
  fisher: 'Fisher information',
  sweep: 'Costs of all options',
  plan: 'Planning',
  decompose: 'Decomposing',
  write: 'Writing',
  evaluate: 'Evaluating',
  statistics: 'Statistics',
  compare: 'Comparing',
  export: 'Exporting',
};

/** The stages this request goes through. */
function stagesOf({ request }: JobState): Stage[] {
  return [
    'open',
    ...(request.calibration !== undefined ? (['fisher'] as const) : []),
    'sweep',
    'plan',
    'decompose',
    'write',
    ...(request.evalText !== undefined ? (['evaluate'] as const) : []),
  ];
}

export function JobProgress(props: {
  host: CompressHost;
  job: JobState;
  onJob: (job: JobState) => void;
  onEdit: () => void;
}) {
  const { host, job } = props;
  const { progress } = job;
  const stages = stagesOf(job);
  const at = progress ? stages.indexOf(progress.stage) : -1;
  const { budget } = job.request;
  return (
    <div class="scroll job">
      <h2>
        {job.state === 'running'
          ? 'Compressing'
          : job.state === 'cancelled'
            ? 'Cancelled'
            : job.state === 'interrupted'
              ? 'Interrupted'
              : 'Not finished'}
        <span class="muted">
          {' '}
          to{' '}
          {budget.kind === 'bytes'
            ? formatBytes(budget.value)
            : `${formatBits(budget.value)} ${budget.kind === 'bits' ? 'bits' : 'effective bits'}`}
          {job.request.ranks !== undefined && `, rank ${job.request.ranks.join(', ')}`}
        </span>
      </h2>
      {job.error && <Failure error={job.error} />}
      {job.state === 'running' ? (
        <>
          <ProgressBar
            label={progress ? titles[progress.stage] : 'Starting'}
            done={progress?.done ?? 0}
            total={progress?.total ?? 0}
          />
          <div class="job-line">
            <span class="job-item">
              {progress?.item ? <Name name={progress.item} /> : progress ? '' : 'Starting the engine'}
            </span>
            <span class="number">
              {progress && progress.total > 0 && `${formatInteger(progress.done)} of ${formatInteger(progress.total)}`}
            </span>
            <span class="number">
              {typeof progress?.secondsLeft === 'number' ? (
                `${formatDuration(progress.secondsLeft)} left`
              ) : (
                <span class="muted">
                  <Elapsed since={job.started} />
                </span>
              )}
            </span>
          </div>
        </>
      ) : (
        <p class="job-actions">
          <Button primary onClick={() => void host.request('resume', { job: job.id }).then(props.onJob, notifyError)}>
            Resume
          </Button>
          <Button onClick={props.onEdit}>Change the Form</Button>
          <span class="muted">Finished matrices and costs are kept; resuming goes on from there.</span>
        </p>
      )}
      <ol class="stages">
        {stages.map((stage, index) => {
          const state = index < at ? 'done' : index === at ? 'now' : 'next';
          return (
            <li key={stage} class={state} aria-current={state === 'now' ? 'step' : undefined}>
              {state === 'done' ? <Icon name="check" /> : <i class="dot" />}
              {titles[stage]}
              {state === 'done' && <span class="sr-only"> done</span>}
            </li>
          );
        })}
      </ol>
      <p class="muted">
        {job.state === 'running' && 'Goes on when this panel is closed; the status bar shows it. '}Output:{' '}
        <Name name={job.request.out} />
        {progress?.device !== undefined && `, on ${progress.device.slice(0, 80)}`}
      </p>
    </div>
  );
}
