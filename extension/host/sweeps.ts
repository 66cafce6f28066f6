import * as path from 'node:path';
import type { Model } from './model/models';
import type { Studio } from './studio';

/** Where the costs of a version of a checkpoint are written, for the slider. */
export const sweepFile = (studio: Pick<Studio, 'storage'>, model: Model): string =>
  path.join(studio.storage, 'sweeps', `${model.version}.json`);
