/** The only place that loads the native addon; the tokenizer library joins it there. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { LqError } from '../core/errors';
import type { NativeModule } from '../core/native';
import { openTokenizer } from './tokenizers';

/** The surface `native.ts` describes; kSurfaceVersion in native/src/addon.cc. */
const SURFACE_VERSION = 4;

/**
 * Loads `lqstudio.node` from a folder that also holds the libraries it needs.
 * Throws `native-missing` when it is absent or does not load here, `engine-version` when it was built for another surface.
 */
export function loadNative(folder: string): NativeModule {
  const file = path.join(folder, 'lqstudio.node');
  if (!existsSync(file)) {
    throw new LqError('native-missing', 'The native module is not built; run "npm run build:native".', { file });
  }
  let loaded: unknown;
  try {
    loaded = createRequire(file)(file);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new LqError('native-missing', `The native module cannot be loaded on this machine: ${reason}`, { file });
  }
  const addon = loaded as NativeModule;
  if (addon.version !== SURFACE_VERSION) {
    throw new LqError(
      'engine-version',
      `The native module has surface ${String(addon.version)}, this program needs ${SURFACE_VERSION}; build both from one version.`,
      { file },
    );
  }
  return { ...addon, openTokenizer: definition => openTokenizer(folder, definition) };
}
