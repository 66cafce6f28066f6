import path from 'node:path';
import { formatBytes, formatDuration } from '../../core/format';
import { present, required, type Command } from '../command';

export const exportCommand: Command = {
  name: 'export',
  summary: 'Write a checkpoint in another format: dense for stock loaders, packed as it is.',
  arguments: ['MODEL'],
  options: {
    format: { value: 'packed|dense', description: 'format to write' },
    out: { value: 'DIR', description: 'folder to write' },
    overwrite: { description: 'replace an existing output folder' },
  },
  async run({ positionals, values, settings, engine, terminal, signal }) {
    const report = await engine.request(
      'export',
      {
        ...settings,
        model: path.resolve(positionals[0] as string),
        format: required(values, 'format'),
        out: path.resolve(required(values, 'out')),
        ...present({ overwrite: values['overwrite'] === true ? true : undefined }),
      },
      { signal, onProgress: terminal.progress },
    );
    terminal.print(
      `${report.files.length} files, ${formatBytes(report.bytes)}, in ${formatDuration(report.seconds)}: ${report.out}`,
    );
    return report;
  },
};
