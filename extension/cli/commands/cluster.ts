import { spawnSync } from 'node:child_process';
import { LqError } from '../../core/errors';
import { methodFor } from '../../core/options/consumers';
import type { Method } from '../../core/options/methods/method';
import { methods } from '../../core/options/methods/registry';
import { DEFAULTS } from '../../core/requests/defaults';
import { clusterRequest, type ClusterRequest, type CompressRequest } from '../../core/requests/requests';
import { kubernetesManifests } from '../cluster/kubernetes';
import type { ClusterJob } from '../cluster/job';
import { slurmScript } from '../cluster/slurm';
import { sshScript } from '../cluster/ssh';
import { define } from '../command';

const DEFAULT_WORKERS = 8;

export const clusterCommand = define({
  summary:
    'Print the job script of a compression for a cluster: workers that share statistics, sweep and encoding, then one that gathers.',
  request: clusterRequest,
  examples: [
    'lq-studio cluster slurm /nfs/model --out /nfs/model-lq --bits 3 --plain --cache /nfs/cache --workers 16 > job.sh',
  ],
  async run({ request, engine, terminal, signal }) {
    const {
      scheduler,
      hosts = [],
      workers = scheduler === 'ssh' ? hosts.length : DEFAULT_WORKERS,
      gpus = 1,
      program = 'lq-studio',
      partition: _partition,
      image: _image,
      volume: _volume,
      mount: _mount,
      submit: wanted,
      ...compress
    } = request;
    // The machine that asks need not have what the workers have.
    const { device: _device, parts: _parts, ...estimated } = compress;
    const estimate = await engine.request('estimate', estimated, { signal });
    const { baseline, fisher, sweep, decompose, evaluate } = estimate.seconds;
    const shared = withParts(compress, workers);
    const job: ClusterJob = {
      program,
      compress: shared,
      workers,
      gpus,
      memory: estimate.peakMemory,
      // The last step encodes what no worker did, which may be all of it.
      seconds: {
        workers: fisher / (shared.parts ?? 1) + (sweep + decompose) / workers,
        gather: baseline + decompose + evaluate,
      },
    };
    const script = scriptFor(request, job, hosts);
    if (wanted === true) return submit(script, terminal.json);
    for (const line of script.trimEnd().split('\n')) terminal.print(line);
    return { scheduler, script, estimate };
  },
});

/** Statistics that add up are shared by the workers as the sweep is. */
function withParts(compress: CompressRequest, workers: number): CompressRequest {
  const method: Method = methods[methodFor(compress.for ?? 'packed', compress.method, DEFAULTS.method)];
  const addsUp = compress.calibration !== undefined && (compress.metric ?? method.metrics[0]) !== 'plain';
  return addsUp && workers > 1 ? { parts: workers, ...compress } : compress;
}

function scriptFor(request: ClusterRequest, job: ClusterJob, hosts: readonly string[]): string {
  switch (request.scheduler) {
    case 'slurm':
      return slurmScript(job, request.partition);
    case 'ssh':
      return sshScript(job, hosts);
    case 'kubernetes':
      return kubernetesManifests(job, request.image!, request.volume!, request.mount ?? '/shared');
  }
}

function submit(script: string, json: boolean): { submitted: string } {
  const { status, stdout, stderr, error } = spawnSync('bash', ['-s'], { input: script, encoding: 'utf8' });
  if (error !== undefined || status !== 0)
    throw new LqError('usage', `The jobs were not submitted: ${(error?.message ?? stderr).trim()}`);
  if (!json) process.stdout.write(stdout);
  return { submitted: stdout.trim() };
}
