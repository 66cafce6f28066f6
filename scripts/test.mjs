// Runs the test suites named on the command line, or all that need no heavy Python peers, side by side where they leave cores
// to one another, and ends with one line of totals.
//   node scripts/test.mjs [fast|rest|typecheck|lint|unit|contract|engine|webview|sanitizers|cuda|package|exthost|e2e|interop|slurm ...]
// fast is what takes minutes in all, rest what remains of those that are run by default.
// A suite that fails does not stop the next; the exit status tells whether all passed.
import path from 'node:path';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { inRoot, root } from './lib.mjs';
import { pipEnvironment } from './python.mjs';
import { systemPackages } from './setup.mjs';
import { schedule } from './test/schedule.mjs';

const reports = inRoot('.artifacts', 'reports');

/** A script of ours; true when it succeeded. */
const script = async (start, name, ...args) =>
  (await start(process.execPath, [inRoot('scripts', `${name}.mjs`), ...args])).ok;

/** A command that counts as one test. */
const asOneTest = ok => ({ passed: ok ? 1 : 0, failed: ok ? 0 : 1 });

/** A script that counts as one test. */
const scriptTest =
  (...command) =>
  async start =>
    asOneTest(await script(start, ...command));

/** A script that others stand on: no test itself. */
const groundwork =
  (...command) =>
  async start => ({ passed: 0, failed: (await script(start, ...command)) ? 0 : 1 });

/**
 * Vitest with the given configuration, with the names of what failed; a run that ends without a report counts as one failure.
 * @param name of its report
 * @param words which files, and options
 */
const vitest =
  (name, config, ...words) =>
  async start => {
    const report = `${reports}/${name}.json`;
    const { ok } = await start(process.execPath, [
      inRoot('node_modules', 'vitest', 'vitest.mjs'),
      'run',
      ...words,
      `--config=${config}`,
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${report}`,
    ]);
    if (!existsSync(report)) return { passed: 0, failed: 1, names: ['ended without a report'] };
    const { numPassedTests, numFailedTests, testResults } = JSON.parse(readFileSync(report, 'utf8'));
    const names = testResults.flatMap(({ name, message, assertionResults }) => [
      ...(message ? [`${path.relative(root, name)}: ${message.split('\n')[0]}`] : []),
      ...assertionResults
        .filter(({ status }) => status === 'failed')
        .map(each => `${path.relative(root, name)}: ${each.fullName}: ${each.failureMessages[0]?.split('\n')[0]}`),
    ]);
    return { passed: numPassedTests, failed: Math.max(numFailedTests, ok ? 0 : 1), names };
  };

/** Runs a conformance suite in an environment; its totals. A run that ends without a line of them counts as one failure. */
const conformance = (build, env) => async start => {
  const { ok, output } = await start(inRoot('build', build, 'contract', 'lq_conformance'), [], env);
  const totals = /(\d+) passed, (\d+) failed/.exec(output);
  return {
    passed: totals ? Number(totals[1]) : 0,
    failed: totals ? Math.max(Number(totals[2]), ok ? 0 : 1) : 1,
  };
};

/** Tests of the engine that make it fail at every step it takes: nearly half of the suite's time. */
const faults = ['full-disk', 'power-cut', 'killed', 'export-killed', 'replaced'].map(
  name => `test/engine/${name}.test.ts`,
);
/** One file at a time, for a suite that is to leave a core to another. */
const oneAtATime = '--poolOptions.forks.maxForks=1';
const endToEnd = (name, ...files) =>
  vitest(name, 'test/e2e/vitest.config.ts', ...files.map(file => `test/e2e/${file}.test.ts`));

/**
 * What each suite does, in the order in which suites begin; see `Job` of schedule.mjs. What takes one core and long comes before
 * what takes two, so that no core waits for the other's end. Those that read the built product need `build` and `native`;
 * `package` builds it anew, as it is shipped, and so waits for them.
 * @type {readonly import('./test/schedule.mjs').Job[]}
 */
const jobs = [
  // Downloads, where they are still to be made.
  { suite: 'modules', cores: 0, work: groundwork('setup') },
  { suite: 'python', cores: 0, work: groundwork('python-venv') },
  { suite: 'editor', cores: 0, work: groundwork('code-server', '--install') },
  { suite: 'conformance', cores: 2, work: groundwork('build-native', '--conformance') },
  { suite: 'lint', cores: 1, work: scriptTest('lint') },
  // One run for each instruction set; the processor's own is used where it has no more.
  ...['baseline', 'avx2', 'avx512'].map(isa => ({
    suite: 'contract',
    cores: 1,
    needs: ['conformance'],
    work: conformance('native', { LQ_ISA: isa }),
  })),
  { suite: 'typecheck', cores: 1, work: scriptTest('typecheck') },
  { suite: 'unit', cores: 2, work: vitest('unit', 'vitest.config.ts', 'test/unit') },
  { suite: 'native', cores: 2, needs: ['conformance'], work: groundwork('build-native') },
  { suite: 'build', cores: 2, work: groundwork('build') },
  { suite: 'cuda', cores: 1, work: scriptTest('build-cuda', '--portable', '--jobs', '1') },
  { suite: 'sanitized', cores: 1, work: groundwork('build-native', '--sanitize', '--jobs', '1') },
  // The contract suite under AddressSanitizer, with its search for leaks, and UBSan: the first error ends it.
  {
    suite: 'sanitizers',
    cores: 1,
    needs: ['sanitized'],
    work: conformance('sanitized', { ASAN_OPTIONS: 'detect_leaks=1' }),
  },
  {
    suite: 'engine',
    cores: 1,
    needs: ['native', 'build'],
    work: vitest('engine', 'vitest.config.ts', 'test/engine', oneAtATime, ...faults.map(file => `--exclude=${file}`)),
  },
  {
    suite: 'engine',
    cores: 1,
    needs: ['native', 'build'],
    work: vitest('engine-faults', 'vitest.config.ts', ...faults, oneAtATime),
  },
  { suite: 'portable', cores: 1, work: groundwork('build-native', '--portable', '--build-only', '--jobs', '1') },
  { suite: 'webview', cores: 2, work: vitest('webview', 'test/webview/vitest.config.ts') },
  {
    suite: 'interop',
    cores: 2,
    needs: ['native', 'build', 'python'],
    work: vitest('interop', 'test/interop/vitest.config.ts'),
  },
  {
    suite: 'slurm',
    cores: 2,
    needs: ['native', 'build'],
    work: vitest('slurm', 'test/cluster/vitest.config.ts'),
  },
  {
    suite: 'package',
    cores: 2,
    needs: ['cuda', 'portable'],
    after: ['native', 'build', 'engine', 'interop', 'slurm'],
    work: scriptTest('package'),
  },
  // Two windows at once, but for what is timed.
  { suite: 'e2e', cores: 1, needs: ['editor', 'package'], work: endToEnd('e2e-books', 'books') },
  { suite: 'e2e', cores: 1, needs: ['editor', 'package'], work: endToEnd('e2e-limited', 'limited', 'health') },
  { suite: 'e2e', cores: 2, needs: ['editor', 'package'], work: endToEnd('e2e', 'inspect', 'compress') },
  {
    suite: 'exthost',
    cores: 2,
    needs: ['editor', 'package'],
    work: vitest('exthost', 'test/e2e/vitest.config.ts', 'test/exthost'),
  },
].map(job =>
  ['modules', 'conformance'].includes(job.suite) ? job : { ...job, needs: ['modules', ...(job.needs ?? [])] },
);

/** What suites stand on: run where one that is asked for needs it, and not by name. */
const beneath = new Set(['modules', 'python', 'editor', 'conformance', 'native', 'build', 'sanitized', 'portable']);
/** They want other people's programs, by the gigabyte or running as daemons, and are asked for by name. */
const onRequest = new Set(['interop', 'slurm']);
const names = [...new Set(jobs.map(({ suite }) => suite))].filter(suite => !beneath.has(suite));
const byDefault = names.filter(name => !onRequest.has(name));
const fast = ['typecheck', 'lint', 'unit', 'contract'];
const groups = { fast, rest: byDefault.filter(name => !fast.includes(name)) };

const asked = process.argv.length > 2 ? process.argv.slice(2) : byDefault;
const chosen = new Set(asked.flatMap(name => groups[name] ?? [name]));
const unknown = [...chosen].filter(name => !names.includes(name));
if (unknown.length > 0) {
  console.error(`No such suite: ${unknown.join(', ')}. There are ${[...Object.keys(groups), ...names].join(', ')}.`);
  process.exit(2);
}
const needed = new Set(chosen);
// What a set's new members need are its next.
for (const suite of needed)
  for (const job of jobs)
    if (job.suite === suite) for (const each of job.needs ?? []) if (beneath.has(each)) needed.add(each);
const wanted = jobs.filter(({ suite }) => needed.has(suite));

systemPackages({
  browser: ['webview', 'exthost', 'e2e'].some(name => chosen.has(name)),
  slurm: chosen.has('slurm'),
});
pipEnvironment();
rmSync(reports, { recursive: true, force: true });
mkdirSync(reports, { recursive: true });

const results = new Map();
await schedule(wanted, Math.max(2, availableParallelism()), ({ suite }, counts, seconds) => {
  const before = results.get(suite) ?? { passed: 0, failed: 0, names: [], seconds: 0 };
  results.set(suite, {
    passed: before.passed + counts.passed,
    failed: before.failed + counts.failed,
    names: [...before.names, ...(counts.names ?? [])],
    seconds: before.seconds + seconds,
  });
});

console.log();
for (const [name, { passed, failed, names: failures, seconds }] of results) {
  console.log(`${name.padEnd(10)} ${passed} ok${failed ? `, ${failed} NOT ok` : ''}, ${seconds.toFixed(1)} s`);
  for (const each of failures) console.log(`  ${each}`);
}
const sum = key => [...results.values()].reduce((total, each) => total + each[key], 0);
console.log(`${sum('passed')} passed, ${sum('failed')} failed`);
process.exit(sum('failed') === 0 ? 0 : 1);
