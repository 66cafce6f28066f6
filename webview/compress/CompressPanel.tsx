/** One form, then progress, then the result. The job belongs to the host and goes on when the panel closes. */
import { useEffect, useState } from 'preact/hooks';
import type { CompressRequest } from '../../extension/core/requests/requests';
import type { CompressShow, CompressView, JobState } from '../../extension/protocol/panels';
import { Button } from '../controls';
import { isString, useSaved } from '../shared/host';
import { Activity, isActive } from '../shared/jobs';
import { notifyError } from '../shared/notices';
import { Await, EngineBanner, Strip, useRequest } from '../shared/Panel';
import { CompressForm } from './CompressForm';
import { isForm, toForm, type Form } from './form';
import { host } from './host';
import { JobProgress } from './JobProgress';
import { JobResult } from './JobResult';

export function CompressPanel() {
  const load = useRequest(() => host.request('load', null), []);
  useEffect(() => host.on('changed', load.replace), []);
  return (
    <Await of={load} what="Reading headers">
      {view => <Loaded view={view} />}
    </Await>
  );
}

function Loaded({ view }: { view: CompressView }) {
  /** The job that is shown, none for the form. */
  const [shown, setShown] = useSaved('shown', view.jobs.find(isActive)?.id ?? '', isString);
  const [form, setForm] = useSaved<Form>('form', toForm(view.form, view), isForm);
  const [request, setRequest] = useState<CompressRequest | undefined>();
  const [starting, setStarting] = useState(false);
  const [news, setNews] = useState<ReadonlyMap<string, JobState>>(new Map());
  useEffect(() => setNews(new Map()), [view]);

  const show = (wanted: CompressShow) => {
    if ('form' in wanted) setForm(toForm(wanted.form, view));
    setShown('job' in wanted ? wanted.job : '');
  };
  useEffect(() => {
    if (view.show) show(view.show);
    const stops = [host.on('show', show), host.on('job', job => setNews(old => new Map(old).set(job.id, job)))];
    return () => stops.forEach(stop => stop());
  }, []);

  // Progress comes between two views; a job that was started here may be ahead of both.
  const jobs = [
    ...[...news.values()].filter(({ id }) => !view.jobs.some(job => job.id === id)),
    ...view.jobs.map(job => news.get(job.id) ?? job),
  ];
  const job = jobs.find(({ id }) => id === shown);
  const atWork = jobs.find(isActive);

  const begin = () => {
    // A double click is one start.
    if (!request || starting) return;
    setStarting(true);
    host
      .request('start', request)
      .then(started => {
        setNews(old => new Map(old).set(started.id, started));
        setShown(started.id);
      }, notifyError)
      .finally(() => setStarting(false));
  };
  const edit = (from: CompressRequest) => show({ form: from });
  const shownRequest = job ? job.request : request;
  return (
    <>
      <Strip
        host={host}
        header={view.header}
        {...(shownRequest && { command: { command: 'compress', request: shownRequest } })}
        primary={
          job ? (
            !isActive(job) && <Button onClick={() => edit(view.form)}>New Compression</Button>
          ) : (
            <Button
              primary
              disabled={!request || !view.canCompute || starting || atWork !== undefined}
              title={startTitle(view, request, atWork)}
              onClick={begin}
            >
              Start
            </Button>
          )
        }
      />
      <EngineBanner host={host} />
      <Activity host={host} shownHere={other => other.id === job?.id} />
      {!job ? (
        <CompressForm
          host={host}
          view={view}
          jobs={jobs}
          form={form}
          onForm={setForm}
          onRequest={setRequest}
          onShow={id => setShown(id)}
        />
      ) : job.state === 'done' && job.report ? (
        <JobResult
          host={host}
          header={view.header}
          report={job.report}
          request={job.request}
          older={job.older === true}
        />
      ) : (
        <JobProgress host={host} job={job} onEdit={() => edit(job.request)} />
      )}
    </>
  );
}

function startTitle(view: CompressView, request: CompressRequest | undefined, atWork: JobState | undefined): string {
  if (!view.canCompute) return 'Trust this workspace to compute';
  if (atWork) return 'A compression of this checkpoint is at work';
  return request ? 'Start the compression' : 'Some fields need attention';
}
