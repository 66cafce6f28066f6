/** Methods. */
import type { MethodsReport } from '../../core/reports';
import type { MethodsRequest } from '../../core/requests/requests';
import type { CommonEvents, CommonRequests, ModelHeader } from '../panelCommon';

export interface MethodsView {
  header: ModelHeader;
  canCompute: boolean;
  /** What can be compared, in the registry's order. */
  methods: { id: string; label: string; source: string; description: string }[];
  /** Comparisons of this checkpoint's files as they are, newest first. */
  comparisons: { job: string; date: number; request: MethodsRequest; report: MethodsReport }[];
  /** To begin with: the last request on this checkpoint, or what other panels used. */
  form: Pick<MethodsRequest, 'effectiveBits' | 'samples' | 'context' | 'windows'> & {
    calibration?: string;
    evalText?: string;
  };
}

export interface MethodsRequests extends CommonRequests {
  load: [null, MethodsView];
  /** Compresses with every chosen method: a job, whose result comes with `changed`. */
  start: [MethodsRequest, { job: string }];
}
export interface MethodsEvents extends CommonEvents {
  changed: MethodsView;
}
