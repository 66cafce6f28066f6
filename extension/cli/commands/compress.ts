import { compressRequest } from '../../core/requests/requests';
import { define } from '../command';
import { compressionReport } from '../report';

export const compressCommand = define({
  summary: 'Compress a checkpoint: Fisher information, sweep, plan, decomposition, packed output, perplexity.',
  request: compressRequest,
  examples: ['lq-studio compress ./model --out ./model-lq --bits 2.75 --calibration calib.txt --eval-text eval.txt'],
  async run({ request, engine, terminal, signal }) {
    const report = await engine.request('compress', request, { signal, onProgress: terminal.progress });
    for (const line of compressionReport(report)) terminal.print(line);
    return report;
  },
});
