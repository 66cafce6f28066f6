import type { MethodsReport } from '../../../extension/core/reports';
import type { MethodsRequest } from '../../../extension/core/requests/requests';
import type { Handlers } from '../../../extension/protocol/channel';
import type { MethodsRequests, MethodsView } from '../../../extension/protocol/panels';
import { header, tiny } from '../fixtures';
import { common, TODAY } from './common';

const request: MethodsRequest = {
  model: '/models/tiny-books-4m',
  effectiveBits: 3,
  calibration: '/data/calib.txt',
  evalText: '/data/eval.txt',
};

const report = (effectiveBits: number): MethodsReport => ({
  model: request.model,
  effectiveBits,
  dense: 20.578,
  rows: [
    {
      method: 'frontier',
      label: 'Frontier',
      source: 'arXiv 2406.11235',
      perplexity: 21.63,
      effectiveBits: 3,
      bytes: 3.19e6,
      seconds: 21,
    },
    {
      method: 'gptq',
      label: 'GPTQ',
      source: 'Frantar et al., 2022, arXiv 2210.17323',
      perplexity: 25.5,
      effectiveBits: 2.99,
      bytes: 3.18e6,
      seconds: 9,
    },
    {
      method: 'rtn',
      label: 'Round to nearest',
      source: 'integers of groups',
      perplexity: 80.1,
      effectiveBits: 2.99,
      bytes: 3.18e6,
      seconds: 2,
    },
    {
      method: 'lq-lora',
      label: 'LQ-LoRA',
      source: 'Guo et al., 2023, arXiv 2311.12023',
      refused: { code: 'budget-infeasible', message: 'The least that LQ-LoRA can meet is 3.42 effective bits.' },
    },
  ],
});

export const methodsView = (): MethodsView => ({
  header: header(tiny),
  canCompute: true,
  methods: report(3).rows.map(({ method, label, source }) => ({
    id: method,
    label,
    source,
    description: `What ${label} does.`,
  })),
  comparisons: [
    { job: 'methods-2', date: TODAY, request, report: report(3) },
    { job: 'methods-1', date: TODAY - 1e7, request: { ...request, effectiveBits: 4 }, report: report(4) },
  ],
  form: { effectiveBits: 3, samples: 64, context: 512, calibration: request.calibration, evalText: request.evalText },
});

export const methodsHost = (view: MethodsView = methodsView()): Handlers<MethodsRequests> => ({
  ...common,
  load: () => view,
  start: () => ({ job: 'methods-3' }),
});
