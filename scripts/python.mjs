// Packages from PyPI without touching the system's Python: everything goes through a virtual environment under .deps,
// which works whether or not the distribution ships pip.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { deps, run, step } from './lib.mjs';

/** Creates a virtual environment at `folder` unless one is there, and returns its interpreter. */
function ensureEnvironment(folder) {
  const python = path.join(folder, 'bin', 'python');
  if (!existsSync(python)) {
    mkdirSync(path.dirname(folder), { recursive: true });
    run('python3', ['-m', 'venv', folder]);
  }
  return python;
}

/** What `unpackWheels` runs; made beforehand by whoever starts several programs at once that call it. */
export const pipEnvironment = () => ensureEnvironment(path.join(deps, 'pip'));

const pip = (python, args) => run(python, ['-m', 'pip', '--disable-pip-version-check', '-q', ...args]);

/** Whether `stamp` already records exactly `contents`; a half-finished installation has no stamp. */
const isCurrent = (stamp, contents) => existsSync(stamp) && readFileSync(stamp, 'utf8') === contents;

/**
 * Unpacks pinned wheels (no dependencies) into `folder`, once per set of pins.
 * @param {string} folder emptied when the pins change
 * @param {string[]} pins requirement specifiers such as `ziglang==0.15.2`
 */
export function unpackWheels(folder, pins) {
  const stamp = path.join(folder, '.pins');
  const wanted = pins.join('\n') + '\n';
  if (isCurrent(stamp, wanted)) return;
  step(`Fetching ${pins.join(', ')} from PyPI`);
  rmSync(folder, { recursive: true, force: true });
  pip(pipEnvironment(), ['install', '--no-deps', '--only-binary=:all:', '--no-compile', '--target', folder, ...pins]);
  writeFileSync(stamp, wanted);
}

/**
 * Makes a virtual environment that holds a requirements file, once per content of that file.
 * @returns {string} its interpreter
 */
export function environmentFor(folder, requirements) {
  const stamp = path.join(folder, '.requirements');
  const wanted = readFileSync(requirements, 'utf8');
  const python = path.join(folder, 'bin', 'python');
  if (isCurrent(stamp, wanted)) return python;
  step(`Creating a Python environment for ${path.basename(path.dirname(requirements))} (several GB the first time)`);
  ensureEnvironment(folder);
  // Most of what is installed is never imported: compiling what is when it is takes a fraction.
  pip(python, ['install', '--only-binary=:all:', '--no-compile', '-r', requirements]);
  writeFileSync(stamp, wanted);
  return python;
}

/**
 * Makes a virtual environment of packages that are built from source, on top of another one, once per content of the file.
 * @param {string} base interpreter of the environment whose packages it sees
 * @returns {string} its interpreter
 */
export function environmentBuiltFor(folder, requirements, base) {
  const stamp = path.join(folder, '.requirements');
  const wanted = readFileSync(requirements, 'utf8');
  const python = path.join(folder, 'bin', 'python');
  if (isCurrent(stamp, wanted)) return python;
  step(`Building the Python packages of ${path.basename(path.dirname(requirements))} (minutes, once)`);
  ensureEnvironment(folder);
  const packages = interpreter =>
    execFileSync(interpreter, ['-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'], {
      encoding: 'utf8',
    }).trim();
  writeFileSync(path.join(packages(python), 'base.pth'), `${packages(base)}\n`);
  pip(python, ['install', '--no-deps', '-r', requirements]);
  writeFileSync(stamp, wanted);
  return python;
}
