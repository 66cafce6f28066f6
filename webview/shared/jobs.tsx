/** Long work on the panel's checkpoint: it belongs to the host, and every panel shows it. */
import { useEffect, useState } from 'preact/hooks';
import { formatDuration, formatPiece, secondsLeftOf, shareOf, stageTitles } from '../../extension/core/format';
import type { JobView } from '../../extension/protocol/panels';
import { Button } from '../controls';
import { navigate } from './actions';
import type { CommonHost } from './host';
import { Name } from './Name';
import { notifyError } from './notices';
import { Elapsed, Failure } from './Panel';
import { ProgressBar } from './ProgressBar';

export const isActive = ({ state }: JobView): boolean => state === 'queued' || state === 'running';

/** Jobs on this panel's checkpoint that are at work or stopped before their end, newest first; none until known. */
export function useJobs(host: CommonHost): readonly JobView[] {
  const [jobs, setJobs] = useState<readonly JobView[]>([]);
  useEffect(() => {
    const stop = host.on('jobs', setJobs);
    host.request('jobs', null).then(setJobs, notifyError);
    return stop;
  }, []);
  return jobs;
}

export const cancelJob = (host: CommonHost, job: JobView) =>
  host.request('cancelJob', { job: job.id }).catch(notifyError);
const resume = (host: CommonHost, job: JobView) => host.request('resumeJob', { job: job.id }).catch(notifyError);
const remove = (host: CommonHost, job: JobView) => host.request('removeJob', { job: job.id }).catch(notifyError);

/** Where a job is shown. */
function openJob(host: CommonHost, job: JobView): void {
  const { method, model, other, id } = job;
  if (method === 'compress') navigate(host, { to: 'compress', model, job: id });
  else if (method === 'sweep') navigate(host, { to: 'allocation', model });
  else if (method === 'evaluate') navigate(host, { to: 'perplexity', model });
  else if (method === 'methods') navigate(host, { to: 'methods', model });
  else if (method === 'compare' && other !== undefined) navigate(host, { to: 'compare', model, other });
  else navigate(host, { to: 'checkpoint', model });
}

/** Such as `43 %, 3 min left`. */
function short(job: JobView): string {
  if (job.state === 'queued') return 'waiting';
  const { progress } = job;
  if (!progress) return 'starting';
  const share = shareOf(progress);
  const left = secondsLeftOf(progress);
  return [share !== undefined && `${Math.floor(100 * share)} %`, left !== undefined && `${formatDuration(left)} left`]
    .filter(Boolean)
    .join(', ');
}

/** A line for every job at work on this checkpoint but those the panel shows itself. */
export function Activity({ host, shownHere }: { host: CommonHost; shownHere?: (job: JobView) => boolean }) {
  const jobs = useJobs(host).filter(job => isActive(job) && !shownHere?.(job));
  if (jobs.length === 0) return null;
  return (
    <ul class="activity" aria-label="At work on this checkpoint">
      {jobs.map(job => (
        <li key={job.id}>
          <button type="button" class="link blue" onClick={() => openJob(host, job)}>
            {job.title.slice(0, 120)}
          </button>
          <span class="muted number">
            {short(job)}
            {job.elsewhere && ', in another window'}
          </span>
        </li>
      ))}
    </ul>
  );
}

/** One job's bar over all it does: how far, which stage and piece, how long it took and will take. */
export function JobBar({ host, job, actions = true }: { host: CommonHost; job: JobView; actions?: boolean }) {
  const { progress } = job;
  const share = progress && shareOf(progress);
  const left = progress && secondsLeftOf(progress);
  const piece = progress && formatPiece(progress);
  return (
    <div class="job-bar">
      <ProgressBar label={job.title.slice(0, 120)} {...(share !== undefined && { share })} />
      <div class="job-line">
        <span class="job-item">
          {job.state === 'queued' ? (
            'Waiting for the work before it'
          ) : progress ? (
            <>
              {stageTitles[progress.stage]}
              {piece && `, ${piece}`}
              {progress.item !== undefined && (
                <>
                  {': '}
                  <Name name={progress.item} />
                </>
              )}
            </>
          ) : (
            'Starting the engine'
          )}
        </span>
        <span class="number" role="timer">
          {job.started !== undefined && <Elapsed since={job.started} />}
          {left !== undefined && `, ${formatDuration(left)} left`}
        </span>
        {job.elsewhere ? (
          <span class="muted">runs in another window</span>
        ) : (
          actions && <Button onClick={() => void cancelJob(host, job)}>Cancel</Button>
        )}
      </div>
    </div>
  );
}

/** A job that stopped before its end: why, and what can be done about it. */
export function Stopped({ host, job }: { host: CommonHost; job: JobView }) {
  return (
    <div class="stopped">
      {job.error ? (
        <Failure error={job.error} />
      ) : (
        <p class="muted">
          {job.title.slice(0, 120)} was {job.state}.
        </p>
      )}
      <p class="job-actions">
        {job.resumable && <Button onClick={() => void resume(host, job)}>Resume</Button>}
        <Button onClick={() => void remove(host, job)}>Remove</Button>
        {job.resumable && <span class="muted">What was finished is kept; resuming goes on from there.</span>}
      </p>
    </div>
  );
}
