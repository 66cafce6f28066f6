/**
 * The whole of what was recorded about the dense models: perplexity of the full texts, the first calibration losses,
 * Fisher sums.
 *   npm run oracle:lm [-- --shared FOLDER] [--models tiny-books-4m,books-20m] [--texts eval,wikitext2-test] [--device cpu]
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { logicalTensors } from '../../../extension/core/logical/logical';
import { openCheckpoint } from '../../../extension/core/logical/open';
import { selectTargets } from '../../../extension/core/logical/targets';
import type { PipelineContext } from '../../../extension/core/context';
import { evaluateCheckpoint } from '../../../extension/core/evaluation/checkpoint';
import { computeFisher } from '../../../extension/core/sensitivity/fisher';
import { loadNative } from '../../../extension/engine/load';
import { nodeFiles } from '../../../extension/node/files';
import { claimTimeout, identity } from '../../../extension/node/identity';

const PERPLEXITY_TOLERANCE = 1e-4;
const LOSS_TOLERANCE = 1e-4;
const FISHER_TOLERANCE = 1e-3;

interface Golden {
  ctx: number;
  fisher_samples: number;
  calib_first_losses: number[];
  fisher: Record<string, { sum: number }>;
}
type Reference = Record<string, { ppl: number; tokens: number; windows: number }>;

const { values } = parseArgs({
  options: {
    shared: { type: 'string', default: path.resolve('..', 'shared') },
    models: { type: 'string', default: 'tiny-books-4m,books-20m' },
    texts: { type: 'string', default: 'eval,wikitext2-test' },
    device: { type: 'string', default: 'cpu' },
  },
});
const print = (line: string): void => void process.stdout.write(`${line}\n`);
if (!existsSync(values.shared)) {
  print(`The recorded figures are not at ${values.shared}; give their folder with --shared.`);
  process.exit(1);
}

const folder = mkdtempSync(path.join(tmpdir(), 'lq-oracle-'));
const context: PipelineContext = {
  native: loadNative(path.resolve('dist/native')),
  files: nodeFiles,
  device: values.device,
  devices: [values.device],
  lanes: [values.device],
  threads: 0,
  cache: folder,
  seed: 0,
  self: identity,
  precision: { used: 'fp32', asked: false },
  claimTimeout: claimTimeout(),
  signal: new AbortController().signal,
  digest: text => createHash('sha256').update(text).digest('hex'),
  now: () => performance.now(),
  report: () => undefined,
  log: (_level, message) => print(message),
};
const json = (file: string): unknown => JSON.parse(readFileSync(file, 'utf8'));

let failed = 0;
function check(what: string, worst: number, allowed: number): void {
  const good = worst <= allowed;
  if (!good) failed++;
  print(`${what}: ${worst.toExponential(1)} away, allowed ${allowed} ${good ? 'ok' : 'NOT ok'}`);
}

for (const name of values.models.split(',')) {
  const model = path.resolve(values.shared, 'models', name);
  const golden = json(path.join(values.shared, 'golden', name, 'golden.json')) as Golden;
  const reference = json(path.join(model, 'reference_ppl.json')) as Reference;
  const index = await openCheckpoint(nodeFiles, model);
  const text = (base: string): string => path.resolve(values.shared, 'text', `${base}.txt`);

  const report = await computeFisher(context, {
    index,
    targets: selectTargets(logicalTensors(index)),
    calibration: text('calib'),
    samples: golden.fisher_samples,
    contextLength: golden.ctx,
    model: name,
    out: path.join(folder, `${name}.safetensors`),
  });
  check(
    `${name}, first calibration losses`,
    Math.max(...golden.calib_first_losses.map((loss, i) => Math.abs(report.losses[i]! - loss))),
    LOSS_TOLERANCE,
  );
  check(
    `${name}, Fisher sums of ${report.matrices.length} matrices over ${report.samples} sequences (${report.seconds.toFixed(0)} s)`,
    Math.max(...report.matrices.map(matrix => Math.abs(matrix.sum / golden.fisher[matrix.name]!.sum - 1))),
    FISHER_TOLERANCE,
  );
  for (const base of values.texts.split(',')) {
    const { ppl, tokens, windows } = reference[base]!;
    const found = await evaluateCheckpoint(context, index, text(base), { context: golden.ctx });
    check(
      `${name}, ${base}, tokens and windows`,
      Math.abs(found.tokens - tokens) + Math.abs(found.windows - windows),
      0,
    );
    check(
      `${name}, ${base}, perplexity ${found.perplexity.toFixed(5)} (${found.seconds.toFixed(0)} s)`,
      Math.abs(found.perplexity / ppl - 1),
      PERPLEXITY_TOLERANCE,
    );
  }
}
rmSync(folder, { recursive: true });
process.exitCode = failed > 0 ? 1 : 0;
