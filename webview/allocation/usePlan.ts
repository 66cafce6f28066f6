/** Plans that follow a moving slider: quick answers while it moves, one at a time, and a full one when it rests. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { ErrorData } from '../../extension/core/errors';
import { describeError } from '../../extension/protocol/channel';
import type { PlanAnswer, PlanQuery } from '../../extension/protocol/panels';
import type { AllocationHost } from './host';

/** How long the slider has to rest before the plan is solved to the end. */
const REST_MS = 300;

export interface PlanState {
  answer?: PlanAnswer;
  /** The answer is of an earlier query, or only a quick one. */
  settling: boolean;
  error?: ErrorData;
}

export function usePlan(host: AllocationHost, query: PlanQuery): PlanState {
  const [state, setState] = useState<PlanState>({ settling: true });
  const latest = useRef(query);
  const busy = useRef(false);
  /** The query whose whole plan was asked for: quick answers that are still under way are too late for it. */
  const resting = useRef<PlanQuery | undefined>(undefined);

  useEffect(() => {
    latest.current = query;
    setState(({ error: _old, ...rest }) => ({ ...rest, settling: true }));
    const abort = new AbortController();
    // A query that a newer one overtook is no failure: the newer one answers.
    const fail = (thrown: unknown): void => {
      const error = describeError(thrown);
      if (error.code !== 'cancelled') setState({ settling: false, error });
    };

    const quick = async (): Promise<void> => {
      if (busy.current) return;
      busy.current = true;
      let asked: PlanQuery;
      try {
        // Queries that arrive while one is being answered are overtaken by the last of them.
        do {
          asked = latest.current;
          const answer = await host.request('plan', { ...asked, quick: true });
          if (resting.current === latest.current) break;
          setState(old => ({ ...old, answer }));
        } while (asked !== latest.current);
      } catch (error) {
        fail(error);
      } finally {
        busy.current = false;
      }
    };
    void quick();
    const timer = setTimeout(() => {
      resting.current = query;
      host.request('plan', { ...query, quick: false }, { signal: abort.signal }).then(
        answer => setState({ answer, settling: false }),
        (error: unknown) => {
          if (!abort.signal.aborted) fail(error);
        },
      );
    }, REST_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [query]);

  return state;
}
