import { watch } from 'node:fs';
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { nodeFiles } from '../../node/files';

/** What is kept: anything with an id that is a valid file name. */
export interface Identified {
  readonly id: string;
}

/**
 * A folder of JSON files, one a record, so that two windows can write without losing each other's. A record that cannot
 * be read is reported and left alone.
 */
export class RecordStore<T extends Identified> {
  /** Writes go one after another, so that the last state of a record is the one that stays. */
  private writing: Promise<void> = Promise.resolve();

  constructor(
    private readonly folder: string,
    private readonly isRecord: (value: unknown) => value is T,
    private readonly warn: (message: string) => void,
  ) {}

  /** All records as they are on disk now; another window may have changed them. */
  async all(): Promise<T[]> {
    await this.writing;
    const names = await fs.readdir(this.folder).catch(() => []);
    const records: T[] = [];
    for (const name of names.filter(each => each.endsWith('.json'))) {
      const file = path.join(this.folder, name);
      try {
        const value: unknown = JSON.parse(await fs.readFile(file, 'utf8'));
        if (this.isRecord(value)) records.push(value);
        else this.warn(`${file} is not a record of this version and is ignored.`);
      } catch (error) {
        this.warn(`${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    return records;
  }

  put(record: T): Promise<void> {
    return this.queue(async () => {
      await nodeFiles.makeFolder(this.folder);
      await nodeFiles.writeAtomic(this.file(record.id), JSON.stringify(record));
    });
  }

  remove(id: string): Promise<void> {
    return this.queue(() => fs.rm(this.file(id), { force: true }));
  }

  /**
   * Calls back after another process changed the folder, or this one; which is not told apart. Where the file system does
   * not tell, nothing is heard. @returns stops listening.
   */
  async watch(changed: () => void): Promise<() => void> {
    await nodeFiles.makeFolder(this.folder);
    let settle: NodeJS.Timeout | undefined;
    const watcher = watch(this.folder, () => {
      clearTimeout(settle);
      settle = setTimeout(changed, 200);
    });
    watcher.on('error', error => this.warn(`${this.folder} is not watched any more: ${error.message}`));
    return () => {
      clearTimeout(settle);
      watcher.close();
    };
  }

  private queue(write: () => Promise<void>): Promise<void> {
    const written = this.writing.then(write);
    this.writing = written.catch(() => undefined); // the caller hears of it; the next write goes on
    return written;
  }

  private file(id: string): string {
    return path.join(this.folder, `${id}.json`);
  }
}
