/** A sweep as the panel follows it: started, watched, cancelled. */
import { useState } from 'preact/hooks';
import type { Progress } from '../../extension/core/progress';
import type { SweepRequest } from '../../extension/core/requests/requests';
import type { AllocationView } from '../../extension/protocol/panels';
import { notifyError } from '../shared/notices';
import type { AllocationHost } from './host';

export interface RunningSweep {
  cancel: () => void;
  progress?: Progress;
}

export function useSweep(host: AllocationHost, onDone: (view: AllocationView) => void) {
  const [running, setRunning] = useState<RunningSweep>();
  const begin = (request: SweepRequest) => {
    const abort = new AbortController();
    const cancel = () => abort.abort();
    setRunning({ cancel });
    host
      .request('sweep', request, { signal: abort.signal, onProgress: progress => setRunning({ cancel, progress }) })
      .then(onDone, notifyError)
      .finally(() => setRunning(undefined));
  };
  return { running, begin };
}

/** The rank of a sweep as it is typed. */
export function readRank(typed: string): { rank: number; problem: string | undefined } {
  const rank = Number(typed);
  const valid = /^\d+$/.test(typed) && rank <= 1024;
  return { rank, problem: valid ? undefined : 'A whole number, 1024 or less' };
}
