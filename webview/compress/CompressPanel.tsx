/** One form, then progress, then the result. The job belongs to the host and goes on when the panel closes. */
import { useEffect, useState } from 'preact/hooks';
import type { CompressView, JobState } from '../../extension/protocol/panels';
import type { CompressRequest } from '../../extension/core/requests/requests';
import { Button } from '../controls';
import { notifyError } from '../shared/notices';
import { Await, EngineBanner, Strip, useRequest } from '../shared/Panel';
import { CompressForm } from './CompressForm';
import { JobProgress } from './JobProgress';
import { JobResult } from './JobResult';
import { host } from './host';

export function CompressPanel() {
  const load = useRequest(() => host.request('load', null), []);
  return (
    <Await of={load} what="Reading headers">
      {view => <Loaded view={view} />}
    </Await>
  );
}

function Loaded({ view }: { view: CompressView }) {
  const [job, setJob] = useState<JobState | undefined>(view.job);
  const [editing, setEditing] = useState(view.job === undefined);
  const [request, setRequest] = useState<CompressRequest | undefined>();
  useEffect(() => host.on('job', setJob), []);

  const follow = (started: JobState) => {
    setJob(started);
    setEditing(false);
  };
  const begin = () => {
    if (request) host.request('start', request).then(follow, notifyError);
  };
  const showForm = editing || !job;
  const again = () => setEditing(true);
  return (
    <>
      <Strip
        host={host}
        header={view.header}
        {...(showForm
          ? request && { command: { command: 'compress', request } }
          : { command: { command: 'compress', request: job.request } })}
        primary={
          showForm ? (
            <Button
              primary
              disabled={!request || !view.canCompute || job?.state === 'running'}
              title={startTitle(view, request, job)}
              onClick={begin}
            >
              Start
            </Button>
          ) : job.state === 'running' ? (
            <Button onClick={() => void host.request('cancel', { job: job.id }).catch(notifyError)}>Cancel</Button>
          ) : (
            <Button onClick={again}>New Compression</Button>
          )
        }
      />
      <EngineBanner on={host.on} />
      {showForm ? (
        <CompressForm
          host={host}
          view={view}
          initial={job?.request ?? view.form}
          onRequest={setRequest}
          {...(job && { onBack: () => setEditing(false) })}
        />
      ) : job.state === 'done' && job.report ? (
        <JobResult host={host} header={view.header} report={job.report} request={job.request} />
      ) : (
        <JobProgress host={host} job={job} onJob={follow} onEdit={again} />
      )}
    </>
  );
}

function startTitle(view: CompressView, request: CompressRequest | undefined, job: JobState | undefined): string {
  if (!view.canCompute) return 'Trust this workspace to compute';
  if (job?.state === 'running') return 'A compression of this checkpoint is running';
  return request ? 'Start the compression' : 'Some fields need attention';
}
