// Perplexity by exported bits against what was measured with PyTorch (256 calibration windows of 512 tokens, all windows of
// the evaluation text): the trellis set without and with the second pass.
//   node test/bench/frontier.mjs [--model tiny-books-4m] [--bits 2,2.25,...] [--device cpu] [--shared DIR] [--out DIR]
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { connectEngine } from '../../scripts/engine-client.mjs';

const BITS = [2, 2.25, 2.5, 2.75, 3, 3.5, 4];
/** Perplexities of the spike in PyTorch: first pass, and with the second pass at alpha = 0.5 where it was measured. */
const MEASURED = {
  'tiny-books-4m': {
    first: [29.06, 25.64, 23.82, 22.78, 22.14, 21.34, 20.94],
    second: [27.23, 24.75, 23.28, 22.38, 21.74],
  },
  'books-16m': {
    first: [30.29, 28.98, 28.25, 27.89, 27.55, 27.3, 27.15],
    second: [29.45, 28.5, 28.03, 27.68, 27.43],
  },
  'books-20m': { first: [38.36, 36.11, 35.05, 34.4, 33.74, 33.31, 33.15], second: [] },
};
/** Different random signs and another permutation of values move perplexity by less than this. */
const TOLERANCE = 0.01;

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'tiny-books-4m' },
    bits: { type: 'string', default: BITS.join() },
    passes: { type: 'string', default: 'first,second' },
    device: { type: 'string', default: 'cpu' },
    samples: { type: 'string', default: '256' },
    shared: { type: 'string', default: path.resolve('..', 'shared') },
    out: { type: 'string' },
    cache: { type: 'string' },
    'tail-biting': { type: 'boolean', default: false },
  },
});
const work = values.out ?? mkdtempSync(path.join(os.tmpdir(), 'lq-frontier-'));
mkdirSync(work, { recursive: true });
const settings = { device: values.device, cache: values.cache ?? path.join(work, 'cache') };
const text = name => path.join(values.shared, 'text', name);
const engine = await connectEngine('frontier');
let missed = 0;
try {
  for (const value of values.bits.split(',').map(Number)) {
    for (const pass of values.passes.split(',')) {
      const started = performance.now();
      const report = await engine.request('compress', {
        ...settings,
        model: path.join(values.shared, 'models', values.model),
        out: path.join(work, `${values.model}-${value}-${pass}`),
        overwrite: true,
        budget: { kind: 'effective-bits', value },
        calibration: text('calib.txt'),
        samples: Number(values.samples),
        secondPass: pass === 'second',
        evalText: text('eval.txt'),
        ...(values['tail-biting'] && { tailBiting: true }),
      });
      const expected = MEASURED[values.model]?.[pass][BITS.indexOf(value)];
      const { perplexity } = report.after;
      const over = expected === undefined ? undefined : perplexity / expected - 1;
      if (over > TOLERANCE) missed++;
      console.log(
        [
          values.model,
          `${value} bits`,
          `(${report.effectiveBits.toFixed(4)})`,
          `${pass} pass`,
          perplexity.toFixed(3),
          ...(over === undefined ? [] : [`measured ${expected}`, `${(100 * over).toFixed(2)} %`]),
          `dense ${report.before.perplexity.toFixed(3)}`,
          `cost ${report.objective.toExponential(3)}`,
          `${((performance.now() - started) / 1000).toFixed(1)} s`,
        ].join('  '),
      );
    }
  }
} finally {
  engine.dispose();
  if (values.out === undefined) rmSync(work, { recursive: true, force: true });
}
if (missed > 0) {
  console.error(`${missed} figures are more than ${100 * TOLERANCE} % above what was measured.`);
  process.exitCode = 1;
}
