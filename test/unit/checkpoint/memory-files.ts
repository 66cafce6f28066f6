import { LqError } from '../../../extension/core/errors';
import type { FileSystem } from '../../../extension/core/files/types';

/** A FileSystem over a map of absolute POSIX paths, counting what is read. */
export class MemoryFiles implements FileSystem {
  bytesRead = 0;
  private readonly contents = new Map<string, Uint8Array>();

  constructor(files: Record<string, string | Uint8Array> = {}) {
    for (const [path, content] of Object.entries(files)) this.add(path, content);
  }

  add(path: string, content: string | Uint8Array): void {
    this.contents.set(path, typeof content === 'string' ? new TextEncoder().encode(content) : content);
  }

  remove(path: string): void {
    this.contents.delete(path);
  }

  async read(path: string, offset: number, length: number): Promise<Uint8Array> {
    const bytes = await this.get(path);
    if (offset + length > bytes.length) throw new LqError('io', `short read of ${path}`, { file: path });
    this.bytesRead += length;
    return bytes.slice(offset, offset + length);
  }

  async readText(path: string): Promise<string> {
    return new TextDecoder().decode(await this.get(path));
  }

  stat(path: string): Promise<{ bytes: number; modified: number; directory: boolean } | undefined> {
    const bytes = this.contents.get(path);
    if (bytes) return Promise.resolve({ bytes: bytes.length, modified: 0, directory: false });
    const directory = this.names(path).length > 0;
    return Promise.resolve(directory ? { bytes: 0, modified: 0, directory } : undefined);
  }

  list(folder: string): Promise<string[]> {
    return Promise.resolve(this.names(folder));
  }

  private names(folder: string): string[] {
    const inside = [...this.contents.keys()].filter(path => path.startsWith(`${folder}/`));
    return [...new Set(inside.map(path => path.slice(folder.length + 1).split('/')[0]!))];
  }

  private get(path: string): Promise<Uint8Array> {
    const bytes = this.contents.get(path);
    if (bytes) return Promise.resolve(bytes);
    return Promise.reject(new LqError('file-not-found', `${path} does not exist`, { file: path }));
  }
}
