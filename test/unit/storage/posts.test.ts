/** What workers of one job say of it: counted together, by those who have ended too, and forgotten when the job is done. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { PipelineContext } from '../../../extension/core/context';
import { atWork } from '../../../extension/core/storage/cache-folder';
import { forgetPosts, sharedJobs, withPost } from '../../../extension/core/storage/posts';
import { context } from '../export/harness';

let folder: string;
let dead: Set<number>;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'lq-posts-'));
  dead = new Set();
});
afterEach(() => rmSync(folder, { recursive: true }));

function worker(pid: number, host: string): PipelineContext {
  const self = { id: `${host}-${pid}`, host, space: 'here', pid, alive: (each: number) => !dead.has(each) };
  return { ...context(), cache: folder, self };
}
const request = (device: string) => ({ model: '/m', out: '/o', budget: { kind: 'bits', value: 3 }, device });
const post = (pid: number, host: string, name: string) =>
  withPost(worker(pid, host), { request: request(`cuda:${pid}`), label: 'Llama-405B', worker: name });
const look = () => sharedJobs(worker(1, 'editor'), folder);

it('adds up what each did, of whatever device, and says who is at work', async () => {
  const first = await post(7, 'node1', '1/2');
  const second = await post(8, 'node2', '2/2');
  for (const { context: each } of [first, second]) each.post!.begin('sweep', 10);
  first.context.post!.done('computed', 3);
  second.context.post!.done('computed', 4);
  await second.close();
  await expect.poll(look, { timeout: 5000 }).toEqual([
    {
      label: 'Llama-405B',
      stages: [{ stage: 'sweep', done: 7, total: 10 }],
      workers: [{ host: 'node1', pid: 7, worker: '1/2' }],
    },
  ]);
  // A claim on a post is no piece of work.
  expect(await atWork(worker(1, 'editor'), folder)).toEqual([]);
  // Another goes on and finds what was done, by whomever.
  const third = await post(9, 'node2', '2/2');
  third.context.post!.begin('sweep', 10);
  third.context.post!.done('found', 9);
  await first.close();
  await expect
    .poll(async () => (await look())[0]?.stages, { timeout: 5000 })
    .toEqual([{ stage: 'sweep', done: 9, total: 10 }]);
  // One that is killed says no more, and its job is nobody's.
  dead.add(9);
  expect(await look()).toEqual([]);
});

it('is forgotten with the job, others’ is not', async () => {
  const mine = await post(7, 'node1', '1/1');
  await mine.close();
  const other = await withPost(worker(8, 'node1'), {
    request: { ...request('cpu'), budget: { kind: 'bits', value: 4 } },
    label: 'Llama-405B',
    worker: '1/1',
  });
  await other.close();
  const posts = () => readdirSync(path.join(folder, 'shard')).filter(name => name.endsWith('.json'));
  expect(posts()).toHaveLength(2);
  await forgetPosts(worker(9, 'gather'), { ...request('cpu'), out: '/elsewhere' });
  expect(posts()).toHaveLength(1);
});
