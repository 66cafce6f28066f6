/** Where bytes come from. The only way core touches a disk; `extension/node/files.ts` is the real one. */
export interface FileSystem {
  /** Reads exactly `length` bytes at `offset`; fewer is an error. */
  read(path: string, offset: number, length: number): Promise<Uint8Array>;
  readText(path: string): Promise<string>;
  stat(path: string): Promise<{ bytes: number; modified: number; directory: boolean } | undefined>;
  list(folder: string): Promise<string[]>;
}

/** A file system that can also be written. Every finished file appears under its name at once or not at all. */
export interface WritableFileSystem extends FileSystem {
  makeFolder(path: string): Promise<void>;
  /** Writes a sibling `.partial` file and renames it. */
  writeAtomic(path: string, content: string | Uint8Array): Promise<void>;
  /** Creates or replaces a file of exactly `bytes` bytes, space reserved, starting with `head`. */
  allocate(path: string, bytes: number, head: Uint8Array): Promise<void>;
  copyFile(from: string, to: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file or folder with its content; nothing happens when it is not there. */
  remove(path: string): Promise<void>;
  /** Bytes free where a folder is, to compare with the sum of what several `allocate` will need. */
  freeBytes(folder: string): Promise<number>;
  /** Flushes a file or folder to the disk. */
  sync(path: string): Promise<void>;
}
