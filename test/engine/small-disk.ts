/** A real file system of a few megabytes that a test can fill, in a mount namespace of its own. */
import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

export interface SmallDisk {
  readonly folder: string;
  /** Leaves `left` bytes free. */
  fill(left: number): void;
  /** Frees what `fill` took. */
  free(): void;
  close(): void;
}

export async function mountSmallDisk(megabytes: number): Promise<SmallDisk> {
  const point = mkdtempSync(path.join(tmpdir(), 'lq-disk-'));
  const script = `mount -t tmpfs -o size=${megabytes}m none ${point} && echo mounted && exec cat`;
  const holder = spawn('unshare', ['--mount', '--map-root-user', 'sh', '-c', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await new Promise((resolve, reject) => {
    holder.stdout.once('data', resolve);
    holder.once('error', reject);
    holder.once('exit', code => reject(new Error(`no tmpfs could be mounted (${code})`)));
  });
  // The way into another mount namespace, see proc(5).
  const folder = `/proc/${holder.pid}/root${point}`;
  const filler = path.join(folder, 'filler');
  return {
    folder,
    fill(left) {
      const { bavail, bsize } = statfsSync(folder);
      const handle = openSync(filler, 'a');
      const bytes = Math.max(0, bavail * bsize - left);
      if (bytes > 0) writeSync(handle, Buffer.alloc(bytes));
      closeSync(handle);
    },
    free: () => rmSync(filler, { force: true }),
    close() {
      holder.stdin.end();
      rmSync(point, { recursive: true });
    },
  };
}
