import path from 'node:path';
import { BUDGET, OVERRIDES, present, type Command } from '../command';
import { parseBudget, parseOverrides } from '../budget';
import { factorStorage, FACTORS } from '../choices';
import { planRows, planTotals } from '../report';

export const planCommand: Command = {
  name: 'plan',
  summary: 'Choose an option for every matrix of a sweep under a budget, with a certified gap to the optimum.',
  arguments: ['SWEEP'],
  options: { ...BUDGET, ...FACTORS, ...OVERRIDES },
  examples: ['lq-studio plan sweep.json --bits 2.75', 'lq-studio plan sweep.json --size 1.5GB --json'],
  async run({ positionals, values, engine, terminal, signal }) {
    const plan = await engine.request(
      'plan',
      {
        sweep: path.resolve(positionals[0] as string),
        budget: parseBudget(values),
        ...present({ factors: factorStorage(values), overrides: parseOverrides(values) }),
      },
      { signal, onProgress: terminal.progress },
    );
    for (const line of planRows(plan.matrices)) terminal.print(line);
    terminal.print();
    for (const line of planTotals(plan)) terminal.print(line);
    return plan;
  },
};
