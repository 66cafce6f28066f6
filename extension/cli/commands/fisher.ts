import path from 'node:path';
import { formatDuration } from '../../core/format';
import { list, integer, present, required, SELECTION, type Command } from '../command';

export const fisherCommand: Command = {
  name: 'fisher',
  summary: 'Compute the diagonal Fisher information of every target matrix on calibration text.',
  arguments: ['MODEL'],
  options: {
    calibration: { value: 'FILE', description: 'calibration text' },
    samples: { value: 'N', description: 'sequences of calibration text (default: 64)' },
    context: { value: 'N', description: 'tokens a sequence (default: 512)' },
    out: { value: 'FILE', description: 'safetensors file to write' },
    ...SELECTION,
  },
  async run({ positionals, values, settings, engine, terminal, signal }) {
    const report = await engine.request(
      'fisher',
      {
        ...settings,
        model: path.resolve(positionals[0] as string),
        calibration: path.resolve(required(values, 'calibration')),
        out: path.resolve(required(values, 'out')),
        ...present({
          samples: integer(values, 'samples', 1),
          context: integer(values, 'context', 2),
          include: list(values, 'include'),
          exclude: list(values, 'exclude'),
        }),
      },
      { signal, onProgress: terminal.progress },
    );
    terminal.print(
      `Fisher information of ${report.matrices.length} matrices over ${report.samples} x ${report.context} tokens ` +
        `in ${formatDuration(report.seconds)}: ${report.out}`,
    );
    for (const warning of report.warnings) terminal.note(`warning: ${warning}`);
    return report;
  },
};
