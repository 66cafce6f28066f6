// An ESLint rule that keeps the rooms of the code base apart. Each room lists what it may import: other rooms (by folder or
// by single module), packages, Node. `types` are allowed for `import type` alone, which leaves nothing behind at run time.
// Within the core the folders form a ladder: nothing imports from a higher rung, not even a type.
import path from 'node:path';
import { builtinModules } from 'node:module';

/**
 * @typedef {object} Room
 * @property {string} folder   repository-relative
 * @property {string[]} may    folders or modules (without extension), repository-relative
 * @property {string[]} [types] the same, for type-only imports
 * @property {string[]} [packages]
 * @property {boolean} [node]  whether Node's own modules may be imported
 */

/** @type {Room[]} */
export const rooms = [
  {
    folder: 'extension/core',
    may: ['extension/core'],
    packages: ['javascript-lp-solver', 'picomatch', 're2js', 'valibot'],
  },
  {
    folder: 'extension/protocol',
    may: ['extension/protocol', 'extension/core/errors', 'extension/core/requests'],
    types: ['extension/core'],
    packages: ['valibot'],
  },
  {
    folder: 'extension/node',
    may: ['extension/node', 'extension/core'],
    types: ['extension/protocol'],
    node: true,
  },
  {
    folder: 'extension/engine',
    may: ['extension/engine', 'extension/core', 'extension/protocol', 'extension/node'],
    packages: ['tokenizers', 'vscode-jsonrpc'],
    node: true,
  },
  {
    folder: 'extension/cli',
    may: ['extension/cli', 'extension/core', 'extension/protocol', 'extension/node', 'extension/engine/client'],
    node: true,
  },
  {
    folder: 'extension/host',
    may: ['extension/host', 'extension/core', 'extension/protocol', 'extension/node', 'extension/engine/client'],
    packages: ['vscode'],
    node: true,
  },
  {
    folder: 'webview',
    may: ['webview', 'extension/protocol', 'extension/core/format', 'extension/core/errors', 'extension/core/requests'],
    types: ['extension/core'],
    packages: ['@vscode/webview-ui-toolkit', 'chart.js', 'preact'],
  },
];

/**
 * The rungs of the core from the bottom up; a module or a folder within a room that is named stands on its own, a module that is
 * not is on the lowest.
 * @type {string[][]}
 */
export const ladder = [
  ['files'],
  ['context', 'lanes'],
  ['storage'],
  ['evaluation/families', 'evaluation/config-reader'],
  ['checkpoint'],
  ['options'],
  ['requests'],
  ['packed'],
  ['logical', 'opened'],
  ['evaluation'],
  ['sensitivity'],
  ['allocation'],
  ['decomposition'],
  ['analysis'],
  ['export'],
  ['reports', 'method', 'estimate', 'known', 'preflight', 'stages', 'pipeline', 'compare-methods'],
];
const CORE = 'extension/core/';

/** The rung of a module of the core, -1 for the modules at its foot (errors, dtypes, native, progress). */
function rung(module) {
  const [room, part] = module.slice(CORE.length).split('/');
  const own = ladder.findIndex(names => names.includes(`${room}/${part}`));
  return own >= 0 ? own : ladder.findIndex(names => names.includes(room));
}

const within = (target, allowed) => allowed.some(entry => target === entry || target.startsWith(`${entry}/`));

/** The package's name of an import such as `vscode-jsonrpc/node` or `@scope/name/file`. */
const packageName = source =>
  source
    .split('/')
    .slice(0, source.startsWith('@') ? 2 : 1)
    .join('/');

/** Says why `room` may not import `source` from `file`, or undefined when it may. */
function objection(room, file, source, typeOnly) {
  if (source.startsWith('.')) {
    const target = path.posix
      .join(path.posix.dirname(file), source)
      .replace(/\.[cm]?[jt]sx?$/, '')
      .replace(/\/index$/, '');
    // Data is of no room.
    if (target.endsWith('.json')) return undefined;
    if (file.startsWith(CORE) && target.startsWith(CORE) && rung(target) > rung(file.replace(/\.tsx?$/, '')))
      return `${file} may not import ${target}, which is above it`;
    if (within(target, room.may) || (typeOnly && within(target, room.types ?? []))) return undefined;
    return `${room.folder} may not import ${target}${within(target, room.types ?? []) ? ' except as a type' : ''}`;
  }
  if (source.startsWith('node:') || builtinModules.includes(source)) {
    return room.node ? undefined : `${room.folder} knows no platform: ${source} is Node's`;
  }
  const name = packageName(source);
  return room.packages?.includes(name) ? undefined : `${room.folder} may not import the package ${name}`;
}

const isTypeOnly = node =>
  node.importKind === 'type' ||
  node.exportKind === 'type' ||
  (node.specifiers?.length > 0 && node.specifiers.every(each => each.importKind === 'type'));

/** @type {import('eslint').Rule.RuleModule} */
export const boundaries = {
  meta: { type: 'problem', schema: [], messages: { crossed: '{{reason}}.' } },
  create(context) {
    const file = path.relative(context.cwd, context.filename).split(path.sep).join('/');
    const room = rooms.find(each => within(file, [each.folder]));
    if (!room) return {};
    const check = (node, source, typeOnly) => {
      if (typeof source?.value !== 'string') return;
      const reason = objection(room, file, source.value, typeOnly);
      if (reason) context.report({ node, messageId: 'crossed', data: { reason } });
    };
    return {
      ImportDeclaration: node => check(node, node.source, isTypeOnly(node)),
      ExportNamedDeclaration: node => check(node, node.source, isTypeOnly(node)),
      ExportAllDeclaration: node => check(node, node.source, isTypeOnly(node)),
      ImportExpression: node => check(node, node.source, false),
      TSImportType: node => check(node, node.source, true),
      TSExternalModuleReference: node => check(node, node.expression, false),
      "CallExpression[callee.name='require']": node => check(node, node.arguments[0], false),
    };
  },
};
