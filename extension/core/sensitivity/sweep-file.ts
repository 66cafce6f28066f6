/** Sweep tables as files: what `sweep` writes, `plan` and the budget slider read. */
import type { FileSystem } from '../files/types';
import { LqError } from '../errors';
import type { SweepTable } from './types';

/** Tables kept open: a slider asks for the same one many times a second, and planning caches by the table object. */
const KEPT = 4;
const opened = new Map<string, { stamp: string; table: SweepTable }>();

/**
 * Reads a sweep file, or returns the table read before when the file has not changed.
 * @throws LqError 'file-not-found', 'io', or 'sweep-mismatch' when it is not a sweep of this version.
 */
export async function readSweep(files: FileSystem, file: string): Promise<SweepTable> {
  const stat = await files.stat(file);
  const stamp = `${stat?.bytes} ${stat?.modified}`;
  const known = opened.get(file);
  if (known?.stamp === stamp) return known.table;
  const table = parse(await files.readText(file), file);
  opened.delete(file);
  opened.set(file, { stamp, table });
  for (const oldest of [...opened.keys()].slice(0, -KEPT)) opened.delete(oldest);
  return table;
}

function parse(text: string, file: string): SweepTable {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new LqError('sweep-mismatch', `${file} is not a sweep: it is not JSON.`, { file });
  }
  const table = value as Partial<SweepTable> | null;
  if (table?.version !== 1 || !Array.isArray(table.options) || !Array.isArray(table.matrices) || !table.model)
    throw new LqError('sweep-mismatch', `${file} is not a sweep that this version reads.`, { file });
  return table as SweepTable;
}
