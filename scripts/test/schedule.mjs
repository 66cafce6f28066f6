// Jobs side by side on the cores there are.
import { spawn } from 'node:child_process';
import { root, step } from '../lib.mjs';

/**
 * @typedef {object} Job
 * @property {string} suite what it is a part of; several jobs may be parts of one
 * @property {number} cores how many it keeps busy; 0 where it waits for the network
 * @property {string[]} [needs] suites without which it cannot succeed
 * @property {string[]} [after] suites that it would disturb
 * @property {(start: Start) => Promise<Counts>} work
 *
 * @typedef {{ passed: number, failed: number, names?: string[] }} Counts
 * @typedef {(command: string, args: string[], env?: Record<string, string>) => Promise<{ ok: boolean, output: string }>} Start
 */

/**
 * Starts a command. Its output is passed on as it comes where it is `live`, and otherwise kept by the caller.
 * @returns {Start}
 */
const starter = (live, keep) => (command, args, env) =>
  new Promise(resolve => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const parts = [];
    const heard = data => {
      parts.push(data);
      if (live) process.stdout.write(data);
      else keep.push(data);
    };
    child.stdout.on('data', heard);
    child.stderr.on('data', heard);
    child.on('error', error => heard(Buffer.from(`${command}: ${error.message}\n`)));
    child.on('close', code => resolve({ ok: code === 0, output: Buffer.concat(parts).toString() }));
  });

/**
 * Runs every job, in the order of the list where cores and other jobs allow it: the first that fits is started. The output of
 * one that has the machine to itself is shown as it comes, that of others when they end.
 * @param {readonly Job[]} jobs
 * @param {number} capacity cores
 * @param {(job: Job, counts: Counts, seconds: number) => void} ended
 */
export async function schedule(jobs, capacity, ended) {
  const waiting = [...jobs];
  const running = new Map();
  const failed = new Set();
  const coresOf = job => Math.min(job.cores, capacity);
  const remains = suite => [...waiting, ...running.keys()].some(job => job.suite === suite);
  const fits = job => {
    const taken = [...running.keys()].reduce((sum, each) => sum + coresOf(each), 0);
    return taken + coresOf(job) <= capacity && ![...(job.needs ?? []), ...(job.after ?? [])].some(remains);
  };
  const settle = (job, counts, seconds) => {
    if (counts.failed > 0) failed.add(job.suite);
    ended(job, counts, seconds);
  };
  const run = async job => {
    const began = performance.now();
    const live = coresOf(job) === capacity || jobs.length === 1;
    const kept = [];
    if (live) step(job.suite);
    const counts = await job.work(starter(live, kept));
    if (!live) step(job.suite);
    process.stdout.write(Buffer.concat(kept));
    running.delete(job);
    settle(job, counts, (performance.now() - began) / 1000);
  };
  while (waiting.length + running.size > 0) {
    for (let next; (next = waiting.find(fits)) !== undefined;) {
      const job = next;
      waiting.splice(waiting.indexOf(job), 1);
      const missing = (job.needs ?? []).filter(suite => failed.has(suite));
      if (missing.length > 0)
        settle(job, { passed: 0, failed: 1, names: [`not run without ${missing.join(', ')}`] }, 0);
      else running.set(job, run(job));
    }
    // What cannot succeed was settled without running.
    if (running.size > 0) await Promise.race(running.values());
  }
}
