// Runs the test suites named on the command line, or all that need no heavy Python peers, and ends with one line of totals.
//   node scripts/test.mjs [fast|rest|typecheck|lint|unit|contract|engine|webview|sanitizers|cuda|package|exthost|e2e|interop|slurm ...]
// fast is what takes minutes in all, rest what remains of those that are run by default.
// A suite that fails does not stop the next; the exit status tells whether all passed.
import path from 'node:path';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { inRoot, root, step } from './lib.mjs';
import { setup } from './setup.mjs';

const reports = inRoot('.artifacts', 'reports');

/** Runs a command with its output shown; true when it succeeded. */
const succeeds = (command, args) => spawnSync(command, args, { cwd: root, stdio: 'inherit' }).status === 0;

const script = (name, ...args) => succeeds(process.execPath, [inRoot('scripts', `${name}.mjs`), ...args]);

/** A command that counts as one test. */
const asOneTest = ok => ({ passed: ok ? 1 : 0, failed: ok ? 0 : 1 });

/** Vitest with the given configuration, with the names of what failed; a run that ends without a report counts as one failure. */
function vitest(name, config, ...filters) {
  const report = `${reports}/${name}.json`;
  const ok = succeeds(process.execPath, [
    inRoot('node_modules', 'vitest', 'vitest.mjs'),
    'run',
    ...filters,
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
}

/** Runs a conformance suite in an environment; its totals. A run that ends without a line of them counts as one failure. */
function conformance(build, env) {
  const result = spawnSync(inRoot('build', build, 'contract', 'lq_conformance'), [], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  const totals = /(\d+) passed, (\d+) failed/.exec(result.stdout ?? '');
  process.stdout.write((result.stdout ?? '') + (result.stderr ?? ''));
  return {
    passed: totals ? Number(totals[1]) : 0,
    failed: totals ? Math.max(Number(totals[2]), result.status === 0 ? 0 : 1) : 1,
  };
}

/** The native conformance suite, once for each instruction set this processor has; each run ends with a line of totals. */
function contract() {
  const all = { passed: 0, failed: 0 };
  for (const isa of ['baseline', 'avx2', 'avx512']) {
    const { passed, failed } = conformance('native', { LQ_ISA: isa });
    all.passed += passed;
    all.failed += failed;
  }
  return all;
}

/** The same suite under AddressSanitizer, with its search for leaks, and UBSan: the first error ends it. */
function sanitizers() {
  if (!script('build-native', '--sanitize')) return { passed: 0, failed: 1 };
  return conformance('sanitized', { ASAN_OPTIONS: 'detect_leaks=1' });
}

const suites = {
  typecheck: () => asOneTest(script('typecheck')),
  lint: () => asOneTest(script('lint')),
  unit: () => vitest('unit', 'vitest.config.ts', 'test/unit'),
  contract,
  engine: () => vitest('engine', 'vitest.config.ts', 'test/engine'),
  webview: () => vitest('webview', 'test/webview/vitest.config.ts'),
  sanitizers,
  cuda: () => asOneTest(script('build-cuda', '--portable')),
  package: () => asOneTest(script('package')),
  exthost: () => vitest('exthost', 'test/e2e/vitest.config.ts', 'test/exthost'),
  e2e: () => vitest('e2e', 'test/e2e/vitest.config.ts', 'test/e2e'),
  interop: () => (script('python-venv') ? vitest('interop', 'test/interop/vitest.config.ts') : asOneTest(false)),
  slurm: () => vitest('slurm', 'test/cluster/vitest.config.ts'),
};
/** They want other people's programs, by the gigabyte or running as daemons, and are asked for by name. */
const onRequest = new Set(['interop', 'slurm']);
const byDefault = Object.keys(suites).filter(name => !onRequest.has(name));

const fast = ['typecheck', 'lint', 'unit', 'contract'];
const groups = { fast, rest: byDefault.filter(name => !fast.includes(name)) };

const asked = process.argv.length > 2 ? process.argv.slice(2) : byDefault;
const chosen = asked.flatMap(name => groups[name] ?? [name]);
const unknown = chosen.filter(name => !(name in suites));
if (unknown.length > 0) {
  console.error(
    `No such suite: ${unknown.join(', ')}. There are ${[...Object.keys(groups), ...Object.keys(suites)].join(', ')}.`,
  );
  process.exit(2);
}

const results = [];
function timed(name, work) {
  step(name);
  const start = performance.now();
  const counts = work();
  results.push({ name, ...counts, seconds: (performance.now() - start) / 1000 });
  return counts;
}

function finish() {
  const sum = key => results.reduce((total, each) => total + each[key], 0);
  console.log();
  for (const { name, passed, failed, seconds, names } of results) {
    console.log(`${name.padEnd(10)} ${passed} ok${failed ? `, ${failed} NOT ok` : ''}, ${seconds.toFixed(1)} s`);
    for (const each of names ?? []) console.log(`  ${each}`);
  }
  console.log(`${sum('passed')} passed, ${sum('failed')} failed`);
  process.exit(sum('failed') === 0 ? 0 : 1);
}

setup({
  browser: chosen.some(name => ['webview', 'exthost', 'e2e'].includes(name)),
  slurm: chosen.includes('slurm'),
});
rmSync(reports, { recursive: true, force: true });
mkdirSync(reports, { recursive: true });
const built = timed('build', () => asOneTest(script('build-native') && script('build')));
if (built.failed === 0) for (const name of chosen) timed(name, suites[name]);
finish();
