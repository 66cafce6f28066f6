import { compressCommandRequest, type CompressRequest, type SweepShardRequest } from '../../core/requests/requests';
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
    if (shard !== undefined) return runShard({ engine, terminal, signal }, { ...costFields(request), shard });
    const report = await engine.request('compress', request, { signal, onProgress: terminal.progress });
    for (const line of compressionReport(report)) terminal.print(line);
    return report;
  },
});

/** The fields of a compression that its costs depend on: what its workers need. */
function costFields({
  out: _out,
  budget: _budget,
  factors: _factors,
  evalText: _evalText,
  windows: _windows,
  format: _format,
  overwrite: _overwrite,
  overrides: _overrides,
  sweepOut: _sweepOut,
  secondPass: _secondPass,
  alpha: _alpha,
  costs: _costs,
  ...fields
}: CompressRequest): Omit<SweepShardRequest, 'shard'> {
  return fields;
}
