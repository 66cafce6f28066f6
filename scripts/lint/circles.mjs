// Finds import circles, type-only imports included: a module should be readable after those it imports.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

/** The modules under `folders` and, for each, those among them that it imports. Paths are relative to `root`. */
function importGraph(root, folders) {
  const modules = folders.flatMap(folder =>
    readdirSync(path.join(root, folder), { recursive: true })
      .filter(file => /\.tsx?$/.test(file) && !file.endsWith('.d.ts'))
      .map(file => path.posix.join(folder, file.split(path.sep).join('/'))),
  );
  const known = new Set(modules);
  const resolve = (from, source) => {
    const base = path.posix.join(path.posix.dirname(from), source);
    return ['.ts', '.tsx', '/index.ts', ''].map(suffix => base + suffix).find(file => known.has(file));
  };
  return new Map(
    modules.map(module => {
      const { importedFiles } = ts.preProcessFile(readFileSync(path.join(root, module), 'utf8'), true, true);
      const targets = importedFiles.flatMap(({ fileName }) =>
        fileName.startsWith('.') ? (resolve(module, fileName) ?? []) : [],
      );
      return [module, targets];
    }),
  );
}

/** Circles as lists of modules that all reach each other (Tarjan's strongly connected components). */
export function importCircles(root, folders) {
  const graph = importGraph(root, folders);
  const number = new Map();
  const low = new Map();
  const open = [];
  const circles = [];
  const visit = module => {
    number.set(module, number.size);
    low.set(module, number.get(module));
    open.push(module);
    for (const target of graph.get(module)) {
      if (!number.has(target)) visit(target);
      if (open.includes(target)) low.set(module, Math.min(low.get(module), low.get(target)));
    }
    if (low.get(module) !== number.get(module)) return;
    const circle = open.splice(open.indexOf(module));
    if (circle.length > 1) circles.push(circle.sort());
  };
  for (const module of graph.keys()) if (!number.has(module)) visit(module);
  return circles;
}
