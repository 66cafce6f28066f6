import { createHash } from 'node:crypto';
import * as path from 'node:path';
import { nodeFiles } from '../node/files';
import type { CompressRequest, SweepRequest } from '../core/requests/requests';
import type { Model } from './model/models';
import type { Studio } from './studio';

type Request = Partial<CompressRequest & SweepRequest>;

/** What costs do not depend on; requests that agree in all else have one table. A field that is not named here parts them. */
const INDEPENDENT: ReadonlySet<string> = new Set<keyof Request>([
  // The version of its files stands for it.
  'model',
  ...(['out', 'overwrite', 'format', 'sweepOut', 'cache', 'threads', 'memory', 'costs', 'factors'] as const),
  // A plan's, and what is made of it.
  ...(['budget', 'overrides', 'secondPass', 'alpha', 'evalText', 'windows'] as const),
]);

/** Where the costs of a version of a checkpoint are to be written for the slider. The folder is there. */
export async function sweepFile(studio: Pick<Studio, 'storage'>, model: Model, request: Request): Promise<string> {
  // The paper's bits leave factors out, and with them the options without any.
  const paperBits = request.budget?.kind === 'bits';
  const fields = Object.entries(request).filter(([name]) => !INDEPENDENT.has(name));
  const key = JSON.stringify([model.version, paperBits, fields.sort(([a], [b]) => (a < b ? -1 : 1))]);
  const folder = path.join(studio.storage, 'sweeps');
  await nodeFiles.makeFolder(folder);
  return path.join(folder, `${createHash('sha256').update(key).digest('hex').slice(0, 32)}.json`);
}
