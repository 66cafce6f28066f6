/** Compare. */
import type { CompareReport } from '../../core/analysis/types';
import type { CommonEvents, CommonRequests, ModelHeader } from '../panelCommon';

export interface CompareView {
  a?: ModelHeader;
  b?: ModelHeader;
  canCompute: boolean;
}

export interface CompareRequests extends CommonRequests {
  load: [null, CompareView];
  /** Chooses a side by path; an absent path asks the user. */
  choose: [{ side: 'a' | 'b'; path?: string }, CompareView];
  /** What the headers say, with the values of the last comparison of these very files when there is one. */
  structure: [null, CompareReport];
  /** Reads the weights of both: a job; finished tensors arrive as `tensors` events. */
  values: [null, { job: string }];
}
export interface CompareEvents extends CommonEvents {
  tensors: CompareReport['tensors'];
  changed: CompareView;
}
