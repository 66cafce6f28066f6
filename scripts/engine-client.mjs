// The engine as scripts use it: bundles the client on the fly and starts dist/engine.js on the first request.
import { createRequire } from 'node:module';
import * as esbuild from 'esbuild';
import { inRoot } from './lib.mjs';

/** An EngineClient (extension/protocol/client.ts) for a script called `name`. */
export async function connectEngine(name) {
  const outfile = inRoot('dist', 'engine-client.cjs');
  await esbuild.build({
    entryPoints: [inRoot('extension/engine/client.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    logLevel: 'warning',
  });
  const { createEngineClient } = createRequire(import.meta.url)(outfile);
  return createEngineClient({ entry: inRoot('dist', 'engine.js'), client: name });
}
