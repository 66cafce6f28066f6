// Makes a bare Debian machine with Node ready to build, run and test: system packages, then node_modules.
// Uses Node's own modules alone, since nothing else is there yet. Quick when there is nothing to do.
//   node scripts/setup.mjs [--browser] [--slurm]     also what the tests in a real editor need, or those on a real Slurm
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { capture, inRoot, run, step } from './lib.mjs';

const MINIMUM_NODE = [20, 18];

const onPath = command => capture('sh', ['-c', `command -v ${command}`]).ok;

/** Debian packages and how to see that what they bring is there, whoever installed it. */
const buildPackages = [
  { name: 'g++', present: () => onPath('g++') },
  { name: 'cmake', present: () => onPath('cmake') },
  { name: 'make', present: () => onPath('make') },
  { name: 'python3', present: () => onPath('python3') },
  { name: 'python3-venv', present: () => capture('python3', ['-c', 'import ensurepip, venv']).ok },
];
const browserPackages = [
  { name: 'chromium', present: () => onPath('chromium') },
  { name: 'fonts-dejavu-core', present: () => existsSync('/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf') },
  { name: 'ripgrep', present: () => onPath('rg') },
];
const slurmPackages = [
  { name: 'munge', present: () => onPath('munged') },
  { name: 'slurm-wlm', present: () => onPath('slurmctld') && onPath('slurmd') && onPath('sbatch') },
];

function requireNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > MINIMUM_NODE[0] || (major === MINIMUM_NODE[0] && minor >= MINIMUM_NODE[1])) return;
  console.error(`Node ${MINIMUM_NODE.join('.')} or newer is needed; this is ${process.versions.node}.`);
  process.exit(1);
}

function installSystemPackages(packages) {
  const missing = packages.filter(each => !each.present()).map(each => each.name);
  if (missing.length === 0) return;
  const install = ['install', '-y', '--no-install-recommends', ...missing];
  if (process.getuid() !== 0 || !onPath('apt-get')) {
    console.error(`These system packages are missing. Install them, then run the same command again:`);
    console.error(`  sudo apt-get update && sudo apt-get ${install.join(' ')}`);
    process.exit(1);
  }
  step(`Installing ${missing.join(', ')}`);
  const options = {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    stdio: ['ignore', 'ignore', 'inherit'],
  };
  run('apt-get', ['update', '-q'], options);
  run('apt-get', install, options);
}

/** Installs exactly package-lock.json. No package's install script is needed, so none is run. */
function installNodeModules() {
  const lock = createHash('sha256')
    .update(readFileSync(inRoot('package-lock.json')))
    .digest('hex');
  const stamp = inRoot('node_modules', '.lock-hash');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return;
  step('Installing node_modules');
  run('npm', ['ci', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error']);
  writeFileSync(stamp, lock);
}

/** @typedef {{ browser?: boolean, slurm?: boolean }} Needs */

/** @param {Needs} needs */
export function systemPackages({ browser = false, slurm = false } = {}) {
  requireNode();
  installSystemPackages([...buildPackages, ...(browser ? browserPackages : []), ...(slurm ? slurmPackages : [])]);
}

/** @param {Needs} needs */
export function setup(needs) {
  systemPackages(needs);
  installNodeModules();
}

if (process.argv[1] && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  setup({ browser: process.argv.includes('--browser'), slurm: process.argv.includes('--slurm') });
}
