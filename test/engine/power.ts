/**
 * Power cuts. A file system keeps what was flushed; of what was not, a name may be there without its content, a file may have
 * its size and zeros in it, a rename may be undone. This watches every flush through a context's file system and says what may
 * be found after the power fails at any moment.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import type { WritableFileSystem } from '../../extension/core/files/types';
import { nodeFiles } from '../../extension/node/files';

/** What is found below a folder: files by relative name. */
export type Image = ReadonlyMap<string, Buffer>;

/** Which of two states of a name or a content is found; `flushed` is the older one. */
export type Luck = (what: 'name' | 'content', file: string) => 'flushed' | 'latest';

interface Entry {
  readonly id: string;
  readonly folder: boolean;
}

const stampOf = (file: string): Entry => {
  const stat = statSync(file, { bigint: true });
  // A number alone is used again for the next file.
  return { id: `${stat.ino} ${stat.birthtimeNs}`, folder: stat.isDirectory() };
};

export class PowerWatch {
  private readonly contents = new Map<string, Buffer>();
  private readonly seen = new Map<string, Buffer>();
  private readonly names = new Map<string, ReadonlyMap<string, Entry>>();

  constructor(private readonly root: string) {
    this.flush(root);
  }

  /** The real file system below the root, its flushes noted; `before` is told of every operation that changes something. */
  files(before: (operation: string, file: string) => void): Partial<WritableFileSystem> {
    const told =
      <A extends [string, ...unknown[]], R>(operation: string, call: (...args: A) => Promise<R>, flushes = false) =>
      async (...args: A): Promise<R> => {
        before(operation, args[0]);
        const result = await call(...args);
        if (flushes) this.flush(args[0]);
        return result;
      };
    return {
      makeFolder: told('makeFolder', nodeFiles.makeFolder),
      // Flushes the content of its sibling before the rename, and no folder.
      writeAtomic: told('writeAtomic', nodeFiles.writeAtomic, true),
      allocate: told('allocate', nodeFiles.allocate),
      copyFile: told('copyFile', nodeFiles.copyFile),
      rename: told('rename', nodeFiles.rename),
      publish: told('publish', nodeFiles.publish),
      remove: told('remove', nodeFiles.remove),
      sync: told('sync', nodeFiles.sync, true),
    };
  }

  private flush(file: string): void {
    const { id, folder } = stampOf(file);
    if (folder) this.names.set(id, this.listing(file));
    else this.contents.set(id, readFileSync(file));
  }

  private listing(folder: string): Map<string, Entry> {
    return new Map(readdirSync(folder).map(name => [name, stampOf(path.join(folder, name))]));
  }

  /** What may be found if the power fails now, by each of several lucks. */
  images(lucks: readonly Luck[]): Image[] {
    const latest = this.latest();
    return lucks.map(luck => this.image(latest, luck));
  }

  private image(latest: Latest, luck: Luck): Image {
    const found = new Map<string, Buffer>();
    const visit = (id: string, inside: string): void => {
      const flushed = this.names.get(id) ?? new Map<string, Entry>();
      const now = latest.names.get(id) ?? flushed;
      for (const name of new Set([...flushed.keys(), ...now.keys()])) {
        const file = path.join(inside, name);
        const entry = (luck('name', file) === 'flushed' ? flushed : now).get(name);
        if (entry?.folder === true) visit(entry.id, file);
        else if (entry !== undefined) {
          const written = latest.contents.get(entry.id) ?? this.contents.get(entry.id) ?? Buffer.alloc(0);
          const certain = this.contents.get(entry.id) ?? Buffer.alloc(written.length);
          found.set(file, luck('content', file) === 'flushed' ? certain : written);
        }
      }
    };
    visit(stampOf(this.root).id, '');
    return found;
  }

  private latest(): Latest {
    const names = new Map<string, Map<string, Entry>>();
    const contents = new Map<string, Buffer>();
    const visit = (folder: string, id: string): void => {
      const own = this.listing(folder);
      names.set(id, own);
      for (const [name, entry] of own) {
        const file = path.join(folder, name);
        if (entry.folder) visit(file, entry.id);
        else contents.set(entry.id, this.read(file, entry.id));
      }
    };
    visit(this.root, stampOf(this.root).id);
    return { names, contents };
  }

  /** One buffer for all images between two changes of a file. */
  private read(file: string, id: string): Buffer {
    const now = readFileSync(file);
    const before = this.seen.get(id);
    if (before?.equals(now) === true) return before;
    this.seen.set(id, now);
    return now;
  }
}

/** What every folder and file holds as the running system sees it, by identity. */
interface Latest {
  readonly names: ReadonlyMap<string, ReadonlyMap<string, Entry>>;
  readonly contents: ReadonlyMap<string, Buffer>;
}
