import { compressCommandRequest } from '../../core/requests/requests';
import { define } from '../command';
import { compressionReport } from '../report';
import { runShard } from '../shard';

export const compressCommand = define({
  summary: 'Compress a checkpoint: statistics, sweep, plan, encoding, packed output, perplexity.',
  request: compressCommandRequest,
  examples: [
    'lq-studio compress ./model --out ./model-lq --size 1.5GB --calibration calib.txt --eval-text eval.txt',
    'lq-studio compress ./model --out ./model-lq --method lq-lora --bits 2.75 --calibration calib.txt',
  ],
  async run({ request: { shard, ...request }, engine, terminal, signal }) {
    if (shard !== undefined) return runShard({ engine, terminal, signal }, 'compressShard', { ...request, shard });
    const report = await engine.request('compress', request, { signal, onProgress: terminal.progress });
    for (const line of compressionReport(report)) terminal.print(line);
    return report;
  },
});
