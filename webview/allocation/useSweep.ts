/** Sweeps as the panel follows them: jobs of the host, which go on when the panel is closed. */
import type { SweepRequest } from '../../extension/core/requests/requests';
import type { JobView } from '../../extension/protocol/panels';
import { isActive, useJobs } from '../shared/jobs';
import { notifyError } from '../shared/notices';
import type { AllocationHost } from './host';

export function useSweep(host: AllocationHost): {
  /** The sweep at work. */
  running: JobView | undefined;
  /** The newest one, when it stopped before its end. */
  stopped: JobView | undefined;
  begin: (request: SweepRequest) => void;
} {
  const [newest] = useJobs(host).filter(({ method }) => method === 'sweep');
  const active = newest !== undefined && isActive(newest);
  return {
    running: active ? newest : undefined,
    stopped: active ? undefined : newest,
    begin: request => void host.request('sweep', request).catch(notifyError),
  };
}

/** The rank of a sweep as it is typed. */
export function readRank(typed: string): { rank: number; problem: string | undefined } {
  const rank = Number(typed);
  const valid = /^\d+$/.test(typed) && rank <= 1024;
  return { rank, problem: valid ? undefined : 'A whole number, 1024 or less' };
}
