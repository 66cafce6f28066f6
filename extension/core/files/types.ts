/** Where bytes come from. The only way core touches a disk; `extension/node/files.ts` is the real one. */
export interface FileSystem {
  /** Reads exactly `length` bytes at `offset`; fewer is an error. */
  read(path: string, offset: number, length: number): Promise<Uint8Array>;
  readText(path: string): Promise<string>;
  stat(path: string): Promise<{ bytes: number; modified: number; directory: boolean } | undefined>;
  list(folder: string): Promise<string[]>;
}

/** A file kept open: what is written reaches the file that was created, whatever has its name now. */
export interface HeldFile {
  /** Replaces the beginning of the file, and hands it to the disk or the server. */
  write(content: string): Promise<void>;
  close(): Promise<void>;
}

/** A file system that can also be written. Every finished file appears under its name at once or not at all. */
export interface WritableFileSystem extends FileSystem {
  makeFolder(path: string): Promise<void>;
  /** Writes a sibling file of a name of its own and renames it. */
  writeAtomic(path: string, content: string | Uint8Array): Promise<void>;
  /** Creates or replaces a file of exactly `bytes` bytes, space reserved, starting with `head`. */
  allocate(path: string, bytes: number, head: Uint8Array): Promise<void>;
  copyFile(from: string, to: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Gives a finished file the name `to` unless there is one of that name, which stays; false then. `from` is gone after. */
  publish(from: string, to: string): Promise<boolean>;
  /** Creates a file that must not exist; undefined when it does. Exactly one of several that try succeeds, on network folders too. */
  createExclusive(path: string, content: string): Promise<HeldFile | undefined>;
  /** Sets the time of the last change to now. */
  touch(path: string): Promise<void>;
  /** Removes a file or folder with its content; nothing happens when it is not there. */
  remove(path: string): Promise<void>;
  /** Bytes free where a folder is, to compare with the sum of what several `allocate` will need. */
  freeBytes(folder: string): Promise<number>;
  /** Flushes a file or folder to the disk. */
  sync(path: string): Promise<void>;
}

/** This process among all that may share a folder. */
export interface ProcessIdentity {
  /** Unique over machines and time; fit for a file name. */
  readonly id: string;
  readonly host: string;
  /** Processes with equal spaces see each other's pids: one boot of one machine, one pid namespace. */
  readonly space: string;
  readonly pid: number;
  /** Whether a process of this space runs. */
  alive(pid: number): boolean;
}
