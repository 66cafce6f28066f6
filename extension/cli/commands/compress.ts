import path from 'node:path';
import { LqError } from '../../core/errors';
import { BUDGET, integer, list, OVERRIDES, present, required, SELECTION, text, type Command } from '../command';
import { parseBudget, parseOverrides } from '../budget';
import { factorStorage, FACTORS, oneOf, scaleKind, SCALES } from '../choices';
import { METHOD, parseMethod } from '../method';
import { compressionReport } from '../report';

export const compressCommand: Command = {
  name: 'compress',
  summary: 'Compress a checkpoint: Fisher information, sweep, plan, decomposition, packed output, perplexity.',
  arguments: ['MODEL'],
  options: {
    out: { value: 'DIR', description: 'folder to write' },
    ...BUDGET,
    ...METHOD,
    calibration: { value: 'FILE', description: 'weight errors with Fisher information of this text' },
    samples: { value: 'N', description: 'sequences of calibration text (default: 64)' },
    fisher: { value: 'FILE', description: 'weight errors with this Fisher file' },
    plain: { description: 'do not weight errors' },
    iterations: { value: 'N', description: 'limit of LQ iterations (default: 100)' },
    patience: {
      value: 'N',
      description: 'iterations without a better one that end the loop (default: 4; 1 is the paper’s rule)',
    },
    ...FACTORS,
    ...SCALES,
    'eval-text': { value: 'FILE', description: 'measure perplexity on this text before and after' },
    context: { value: 'N', description: 'tokens a window for calibration and evaluation (default: 512)' },
    windows: { value: 'N', description: 'evaluate the first N windows only' },
    format: { value: 'packed|dense', description: 'what to write (default: packed)' },
    overwrite: { description: 'replace an existing output folder' },
    ...SELECTION,
    ...OVERRIDES,
  },
  examples: ['lq-studio compress ./model --out ./model-lq --bits 2.75 --calibration calib.txt --eval-text eval.txt'],
  async run({ positionals, values, settings, engine, terminal, signal }) {
    const calibration = text(values, 'calibration');
    const fisher = text(values, 'fisher');
    const ways = [calibration !== undefined, fisher !== undefined, values['plain'] === true].filter(Boolean).length;
    if (ways !== 1) throw new LqError('usage', 'Give exactly one of --calibration FILE, --fisher FILE and --plain.');
    const resolve = (file: string | undefined): string | undefined =>
      file === undefined ? undefined : path.resolve(file);
    const report = await engine.request(
      'compress',
      {
        ...settings,
        model: path.resolve(positionals[0] as string),
        out: path.resolve(required(values, 'out')),
        budget: parseBudget(values),
        ...parseMethod(values),
        ...present({
          calibration: resolve(calibration),
          samples: integer(values, 'samples', 1),
          fisher: resolve(fisher),
          plain: values['plain'] === true ? true : undefined,
          scales: scaleKind(values),
          iterations: integer(values, 'iterations', 1),
          patience: integer(values, 'patience', 1),
          factors: factorStorage(values),
          evalText: resolve(text(values, 'eval-text')),
          context: integer(values, 'context', 2),
          windows: integer(values, 'windows', 1),
          format: oneOf(values, 'format', ['packed', 'dense']),
          overwrite: values['overwrite'] === true ? true : undefined,
          include: list(values, 'include'),
          exclude: list(values, 'exclude'),
          overrides: parseOverrides(values),
        }),
      },
      { signal, onProgress: terminal.progress },
    );
    for (const line of compressionReport(report)) terminal.print(line);
    return report;
  },
};
