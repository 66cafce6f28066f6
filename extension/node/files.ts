/** The real file system: positioned reads with typed errors, and writes that appear whole or not at all. */
import {
  constants,
  copyFile,
  link,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  statfs,
  utimes,
  type FileHandle,
} from 'node:fs/promises';
import { dirname } from 'node:path';
import { LqError } from '../core/errors';
import { identity } from './identity';
import type { WritableFileSystem } from '../core/files/types';

/** File systems without hard links answer with one of these. */
const NO_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

let partials = 0;
/** A name beside `path` that no other process writes to. */
const partialOf = (path: string): string => `${path}.${identity.id}-w${++partials}.partial`;

export const nodeFiles: WritableFileSystem = {
  read: (path, offset, length) =>
    typed(path, async () => {
      const bytes = new Uint8Array(length);
      const handle = await open(path, 'r');
      try {
        let done = 0;
        while (done < length) {
          const { bytesRead } = await handle.read(bytes, done, length - done, offset + done);
          if (bytesRead === 0) {
            const message = `${path} ends at ${offset + done}; ${length} bytes were wanted at ${offset}`;
            throw new LqError('io', message, { file: path });
          }
          done += bytesRead;
        }
      } finally {
        await handle.close();
      }
      return bytes;
    }),

  readText: path => typed(path, () => readFile(path, 'utf8')),

  stat: path =>
    typed(path, async () => {
      try {
        const found = await stat(path);
        return { bytes: found.size, modified: found.mtimeMs, directory: found.isDirectory() };
      } catch (error) {
        if (isAbsent(error)) return undefined;
        throw error;
      }
    }),

  list: folder => typed(folder, () => readdir(folder)),

  makeFolder: path =>
    typed(path, async () => {
      await mkdir(path, { recursive: true });
    }),

  writeAtomic: (path, content) =>
    typed(path, async () => {
      const partial = partialOf(path);
      try {
        await writeNew(partial, async handle => {
          await handle.writeFile(content);
          await handle.sync();
        });
        await rename(partial, path);
      } catch (error) {
        await rm(partial, { force: true });
        throw error;
      }
    }),

  allocate: (path, bytes, head) =>
    typed(path, async () => {
      await requireSpace(dirname(path), bytes);
      try {
        await writeNew(path, async handle => {
          await handle.truncate(bytes);
          await handle.writeFile(head);
        });
      } catch (error) {
        await rm(path, { force: true });
        throw error;
      }
    }),

  copyFile: (from, to) =>
    typed(from, async () => {
      try {
        // Shares the blocks where the file system can.
        await copyFile(from, to, constants.COPYFILE_FICLONE);
      } catch (error) {
        if (isAbsent(error)) throw error;
        await rm(to, { force: true });
        throw fileError(error, to);
      }
    }),

  rename: (from, to) => typed(from, () => rename(from, to)),

  publish: (from, to) =>
    typed(to, async () => {
      try {
        await link(from, to);
      } catch (error) {
        const code = systemCode(error) ?? '';
        if (code === 'EEXIST') {
          await rm(from);
          return false;
        }
        if (!NO_LINKS.has(code)) throw error;
        // Without links the look and the rename are two steps; what may be lost between them is an equal file.
        if ((await nodeFiles.stat(to)) !== undefined) {
          await rm(from);
          return false;
        }
        await rename(from, to);
        return true;
      }
      await rm(from);
      return true;
    }),

  createExclusive: (path, content) =>
    typed(path, async () => {
      let handle: FileHandle;
      try {
        handle = await open(path, 'wx');
      } catch (error) {
        if (systemCode(error) === 'EEXIST') return undefined;
        throw error;
      }
      const write = async (text: string): Promise<void> => {
        const bytes = Buffer.from(text);
        await handle.write(bytes, 0, bytes.length, 0);
        await handle.datasync();
      };
      try {
        await write(content);
      } catch (error) {
        await handle.close();
        await rm(path, { force: true });
        throw error;
      }
      return { write, close: () => handle.close() };
    }),

  touch: path =>
    typed(path, async () => {
      const now = new Date();
      await utimes(path, now, now);
    }),

  remove: path => typed(path, () => rm(path, { recursive: true, force: true })),

  freeBytes: folder => typed(folder, () => freeBytes(folder)),

  sync: path =>
    typed(path, async () => {
      const handle = await open(path, 'r');
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    }),
};

/** The typed form of what Node's fs threw: 'file-not-found', 'disk-full', 'output-exists' or 'io'. Other errors pass unchanged. */
function fileError(error: unknown, path: string): unknown {
  const code = systemCode(error);
  if (code === undefined) return error;
  const where = { file: path };
  if (isAbsent(error)) return new LqError('file-not-found', `${path} does not exist`, where);
  if (code === 'ENOSPC' || code === 'EDQUOT') return new LqError('disk-full', `no space left for ${path}`, where);
  if (code === 'EEXIST' || code === 'ENOTEMPTY') return new LqError('output-exists', `${path} exists already`, where);
  return new LqError('io', `${path}: ${(error as Error).message}`, where);
}

/** Node cannot reserve blocks, so what is free is compared at once: better known before the work than after hours of it. */
async function requireSpace(folder: string, bytes: number): Promise<void> {
  const free = await freeBytes(folder);
  if (free < bytes) {
    const message = `${folder} has ${free} bytes free, ${bytes} are needed`;
    throw new LqError('disk-full', message, { file: folder, details: { free, needed: bytes } });
  }
}

async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

async function writeNew(path: string, write: (handle: FileHandle) => Promise<void>): Promise<void> {
  const handle = await open(path, 'w');
  try {
    await write(handle);
  } finally {
    await handle.close();
  }
}

async function typed<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw fileError(error, path);
  }
}

function systemCode(error: unknown): string | undefined {
  if (error instanceof LqError || !(error instanceof Error) || !('syscall' in error) || !('code' in error))
    return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

function isAbsent(error: unknown): boolean {
  const code = systemCode(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}
