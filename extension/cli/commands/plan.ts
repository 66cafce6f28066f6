import { planRequest } from '../../core/requests/requests';
import { define } from '../command';
import { planRows, planTotals } from '../report';

export const planCommand = define({
  summary: 'Choose an option for every matrix of a sweep under a budget, with a certified gap to the optimum.',
  request: planRequest,
  examples: ['lq-studio plan sweep.json --bits 2.75', 'lq-studio plan sweep.json --size 1.5GB --json'],
  async run({ request, engine, terminal, signal }) {
    const plan = await engine.request('plan', request, { signal, onProgress: terminal.progress });
    for (const line of planRows(plan.matrices)) terminal.print(line);
    terminal.print();
    for (const line of planTotals(plan)) terminal.print(line);
    return plan;
  },
});
