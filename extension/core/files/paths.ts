/** Path arithmetic on absolute paths of the machine the files are on, POSIX or Windows. Core has no node:path. */

const separator = /[\\/]/;

function lastSeparator(path: string): number {
  return Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\'));
}

/** Without trailing separators; the root stays. */
export function trimPath(path: string): string {
  const trimmed = path.replace(/[\\/]+$/, '');
  return trimmed === '' ? path.slice(0, 1) : trimmed;
}

export function folderOf(path: string): string {
  const trimmed = trimPath(path);
  const at = lastSeparator(trimmed);
  return at < 0 ? '.' : at === 0 ? trimmed.slice(0, 1) : trimmed.slice(0, at);
}

/** Joins with the separator the folder itself uses. */
export function joinPath(folder: string, name: string): string {
  const slash = folder.includes('\\') && !folder.includes('/') ? '\\' : '/';
  return separator.test(folder.slice(-1)) ? folder + name : folder + slash + name;
}

/** True for a relative path that stays inside its folder: what an index may name as a shard. */
export function isContained(name: string): boolean {
  if (name === '' || name.includes('\0') || separator.test(name[0]!) || /^[A-Za-z]:/.test(name)) return false;
  return name.split(separator).every(part => part !== '..' && part !== '');
}
