import path from 'node:path';
import { formatDuration } from '../../core/format';
import { integer, present, required, type Command } from '../command';

export const evalCommand: Command = {
  name: 'eval',
  summary: 'Perplexity of a dense or packed checkpoint on a text, over non-overlapping windows.',
  arguments: ['MODEL'],
  options: {
    text: { value: 'FILE', description: 'evaluation text' },
    context: { value: 'N', description: 'tokens a window (default: 512)' },
    windows: { value: 'N', description: 'evaluate the first N windows only' },
    bos: { description: 'start every window with the beginning-of-sequence token' },
  },
  async run({ positionals, values, settings, engine, terminal, signal }) {
    const report = await engine.request(
      'evaluate',
      {
        ...settings,
        model: path.resolve(positionals[0] as string),
        text: path.resolve(required(values, 'text')),
        ...present({
          context: integer(values, 'context', 2),
          windows: integer(values, 'windows', 1),
          bos: values['bos'] === true ? true : undefined,
        }),
      },
      { signal, onProgress: terminal.progress },
    );
    terminal.print(
      `perplexity ${report.perplexity.toFixed(4)} over ${report.tokens} tokens, ${report.windows} windows of ` +
        `${report.context}, in ${formatDuration(report.seconds)} on ${report.device}`,
    );
    for (const warning of report.warnings) terminal.note(`warning: ${warning}`);
    return report;
  },
};
