/** A context whose every write is announced: where a test makes the disk full, or the power fail. */
import type { WritableFileSystem } from '../../extension/core/files/types';
import type { NativeModule } from '../../extension/core/native';
import { nodeFiles } from '../../extension/node/files';
import { native } from './native';

const WRITES = [
  'makeFolder',
  'writeAtomic',
  'allocate',
  'copyFile',
  'rename',
  'publish',
  'createExclusive',
  'remove',
  'sync',
] as const satisfies readonly (keyof WritableFileSystem)[];

/** Native functions that write into files; those of a language model write into what `allocate` made. */
const NATIVE_WRITES = [
  'copy',
  'exchange',
  'decompose',
  'encode',
  'reconstruct',
  'convert',
  'weightedSum',
] as const satisfies readonly (keyof NativeModule)[];

/** Told before every write, and after `allocate`, of its kind and the path it concerns. */
export type Watcher = (kind: string, path: string) => void;

export function watchedFiles(watch: Watcher): WritableFileSystem {
  const files = { ...nodeFiles };
  for (const name of WRITES) {
    const call = nodeFiles[name].bind(nodeFiles) as (...args: unknown[]) => Promise<unknown>;
    Object.assign(files, {
      async [name](...args: string[]) {
        // What is written to is the last path of a copy or rename.
        const path = ['copyFile', 'rename', 'publish'].includes(name) ? args[1]! : args[0]!;
        watch(name, path);
        const result = await call(...args);
        if (name === 'allocate') watch('allocated', path);
        return result;
      },
    });
  }
  return files;
}

export function watchedNative(watch: Watcher): Partial<NativeModule> {
  const changes: Record<string, unknown> = {};
  for (const name of NATIVE_WRITES) {
    const call = Reflect.get(native, name) as (...args: unknown[]) => unknown;
    changes[name] = (...args: unknown[]) => {
      watch(`native ${name}`, '');
      return call(...args);
    };
  }
  return changes;
}
