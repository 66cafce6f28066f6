import { createHash } from 'node:crypto';
import * as path from 'node:path';
import { nodeFiles } from '../node/files';
import type { CompressRequest, SweepRequest } from '../core/requests/requests';
import type { Model } from './model/models';
import type { Studio } from './studio';

type Request = Partial<CompressRequest & SweepRequest>;

/** What costs depend on; requests that agree in these have one table. */
const fields = [
  'for',
  'method',
  'metric',
  'ranks',
  'states',
  'tailBiting',
  'calibration',
  'samples',
  'context',
  'fisher',
  'scales',
  'iterations',
  'patience',
  'include',
  'exclude',
  'grid',
  'seed',
  // Backends differ by rounding: each keeps costs of its own.
  'device',
] as const;

/** Where the costs of a version of a checkpoint are to be written for the slider. The folder is there. */
export async function sweepFile(studio: Pick<Studio, 'storage'>, model: Model, request: Request): Promise<string> {
  // The paper's bits leave factors out, and with them the options without any.
  const paperBits = request.budget?.kind === 'bits';
  const key = JSON.stringify([model.version, paperBits, ...fields.map(field => request[field] ?? null)]);
  const folder = path.join(studio.storage, 'sweeps');
  await nodeFiles.makeFolder(folder);
  return path.join(folder, `${createHash('sha256').update(key).digest('hex').slice(0, 32)}.json`);
}
