/** The processes below a server, read from /proc. */
import { readdirSync, readFileSync } from 'node:fs';

interface Process {
  pid: number;
  parent: number;
  command: string;
}

function processes(): Process[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .flatMap(name => {
      try {
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ');
        const parent = /^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${name}/status`, 'utf8'))?.[1];
        return [{ pid: Number(name), parent: Number(parent), command }];
      } catch {
        return []; // gone since it was listed
      }
    });
}

/** Process ids below `ancestor` whose command line contains `text`. */
export function descendants(ancestor: number, text: string): number[] {
  const all = processes();
  const below = new Set([ancestor]);
  for (let before = 0; before !== below.size;) {
    before = below.size;
    for (const each of all) if (below.has(each.parent)) below.add(each.pid);
  }
  return all.filter(each => below.has(each.pid) && each.command.includes(text)).map(each => each.pid);
}
