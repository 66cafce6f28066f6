import { describe, expect, it } from 'vitest';

interface Job {
  suite: string;
  cores: number;
  needs?: string[];
  after?: string[];
}
interface Counts {
  passed: number;
  failed: number;
  names?: string[];
}
const { schedule } = (await import(new URL('../../../scripts/test/schedule.mjs', import.meta.url).href)) as {
  schedule: (
    jobs: (Job & { work: () => Promise<Counts> })[],
    cores: number,
    ended: (job: Job, counts: Counts) => void,
  ) => Promise<void>;
};

/** Runs jobs that take a moment each; what ran beside what, and how each ended. */
async function run(jobs: Job[], failing: string[] = []) {
  const running = new Set<string>();
  const order: string[] = [];
  const beside = new Map<string, string[]>();
  const ended: [string, number, string[] | undefined][] = [];
  await schedule(
    jobs.map(job => ({
      ...job,
      work: async () => {
        order.push(job.suite);
        beside.set(job.suite, [...running]);
        running.add(job.suite);
        await new Promise(resolve => setTimeout(resolve, 5));
        running.delete(job.suite);
        return failing.includes(job.suite) ? { passed: 0, failed: 1 } : { passed: 1, failed: 0 };
      },
    })),
    2,
    (job, { failed, names }) => ended.push([job.suite, failed, names]),
  );
  return { order, beside, ended };
}

describe('the schedule of suites', () => {
  it('fills the cores and no more, and lets what waits for the network run beside anything', async () => {
    const { beside } = await run([
      { suite: 'download', cores: 0 },
      { suite: 'compile', cores: 2 },
      { suite: 'types', cores: 1 },
      { suite: 'lint', cores: 1 },
    ]);
    expect(beside.get('compile')).toEqual(['download']);
    expect(beside.get('types')).toEqual([]);
    expect(beside.get('lint')).toEqual(['types']);
  });

  it('waits for all jobs of a suite, and takes more cores than there are for all there are', async () => {
    const { order, beside } = await run([
      { suite: 'package', cores: 8, after: ['engine'] },
      { suite: 'engine', cores: 1 },
      { suite: 'engine', cores: 2 },
    ]);
    expect(order).toEqual(['engine', 'engine', 'package']);
    expect(beside.get('package')).toEqual([]);
  });

  it('does not run what stands on something that failed, and says so', async () => {
    const { order, ended } = await run(
      [
        { suite: 'build', cores: 2 },
        { suite: 'contract', cores: 1, needs: ['build'] },
        { suite: 'unit', cores: 1, after: ['build'] },
      ],
      ['build'],
    );
    expect(order).toEqual(['build', 'unit']);
    expect(ended).toContainEqual(['contract', 1, ['not run without build']]);
    expect(ended).toContainEqual(['unit', 0, undefined]);
  });

  it('ends when nothing that remains can succeed', async () => {
    const { order, ended } = await run(
      [
        { suite: 'package', cores: 2 },
        { suite: 'exthost', cores: 2, needs: ['package'] },
        { suite: 'e2e', cores: 2, needs: ['exthost', 'package'] },
      ],
      ['package'],
    );
    expect(order).toEqual(['package']);
    expect(ended.map(([suite, failed]) => [suite, failed])).toEqual([
      ['package', 1],
      ['exthost', 1],
      ['e2e', 1],
    ]);
  });
});
