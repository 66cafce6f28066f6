import * as fs from 'node:fs/promises';
import * as path from 'node:path';

/**
 * Removes the files of a cache folder that were not read or written for longest until the rest is within `limit` bytes.
 * What is still being written (`.partial`) is left alone.
 * @returns bytes removed.
 */
export async function limitCache(folder: string, limit: number): Promise<number> {
  const entries = await fs.readdir(folder, { recursive: true, withFileTypes: true });
  const files = await Promise.all(
    entries
      .filter(entry => entry.isFile() && !entry.name.endsWith('.partial'))
      .map(async entry => {
        const file = path.join(entry.parentPath, entry.name);
        const { size, atimeMs, mtimeMs } = await fs.stat(file);
        return { file, size, used: Math.max(atimeMs, mtimeMs) };
      }),
  );
  let total = files.reduce((sum, { size }) => sum + size, 0);
  let removed = 0;
  for (const { file, size } of files.sort((a, b) => a.used - b.used)) {
    if (total <= limit) break;
    await fs.rm(file, { force: true });
    total -= size;
    removed += size;
  }
  return removed;
}
