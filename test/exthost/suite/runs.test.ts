import assert from 'node:assert/strict';
import { hostname } from 'node:os';
import * as vscode from 'vscode';
import type { Studio } from '../../../extension/host/studio';
import { RunTree } from '../../../extension/host/runs';
import { Workers, type Elsewhere } from '../../../extension/host/workers';
import { eventually, inWorkspace, internals, labelOf } from './internals';

const sample = () => inWorkspace('tiny-books-4m').fsPath;
const labels = () => vscode.window.tabGroups.all.flatMap(group => group.tabs).map(tab => tab.label);

/** One matrix of the sample, rounded to nearest, as a finished run of the list. */
async function compressed(studio: Studio, name: string, effectiveBits: number): Promise<string> {
  const { id } = studio.jobs.start(
    'compress',
    {
      model: sample(),
      out: inWorkspace(name).fsPath,
      method: 'rtn',
      budget: { kind: 'effective-bits', value: effectiveBits },
      include: ['model.layers.0.self_attn.q_proj.weight'],
      plain: true,
    },
    `Compress ${name}`,
  );
  const { status, error } = await studio.jobs.settled(id);
  assert.equal(status, 'done', error?.message);
  return id;
}

describe('the list of runs', () => {
  let studio: Studio;
  let tree: RunTree;
  let small: string;
  let large: string;
  before(async () => {
    ({ studio } = await internals());
    tree = new RunTree(studio);
    small = await compressed(studio, 'small-lq', 3.5);
    large = await compressed(studio, 'large-lq', 5);
  });
  after(async () => {
    tree.dispose();
    for (const name of ['small-lq', 'large-lq'])
      await vscode.workspace.fs.delete(inWorkspace(name), { recursive: true });
  });
  afterEach(() => vscode.commands.executeCommand('workbench.action.closeAllEditors'));

  it('tells of each what was made, at how many bits and how', async () => {
    const item = await tree.getTreeItem(small);
    assert.equal(labelOf(item), 'small-lq');
    assert.match(String(item.description), /3\.\d+ bits/);
    assert.equal(item.contextValue, 'run.compress');
  });

  it('keeps a pinned run at the top until it is unpinned', async () => {
    const order = () => tree.getChildren().filter(id => id === small || id === large);
    assert.deepEqual(order(), [large, small]);
    await vscode.commands.executeCommand('lqStudio.pinRun', small);
    assert.deepEqual(order(), [small, large]);
    assert.equal((await tree.getTreeItem(small)).contextValue, 'run.compress.pinned');
    await vscode.commands.executeCommand('lqStudio.unpinRun', small);
    assert.deepEqual(order(), [large, small]);
  });

  it('compares two that are selected, and one with a pinned one', async () => {
    const compared = () => (labels().some(label => label.startsWith('Compare: ')) ? true : undefined);
    await vscode.commands.executeCommand('lqStudio.compareRuns', small, [small, large]);
    await eventually(compared, 'a comparison of the selected opening');
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
    await vscode.commands.executeCommand('lqStudio.pinRun', large);
    await vscode.commands.executeCommand('lqStudio.compareRuns', small);
    await eventually(compared, 'a comparison with the pinned opening');
    await vscode.commands.executeCommand('lqStudio.unpinRun', large);
  });

  it('shows the heatmap of the run that is asked for, not of the newest', async () => {
    await vscode.commands.executeCommand('lqStudio.showRunHeatmap', small);
    await eventually(
      () => (studio.active()?.model === inWorkspace('small-lq').fsPath ? true : undefined),
      'its heatmap opening',
    );
  });

  it('shows the workers of a cluster on its cache in one line a job that opens to each', async () => {
    const seen: Elsewhere = {
      jobs: [
        {
          label: 'Llama-405B',
          stages: [{ stage: 'sweep', done: 412, total: 882 }],
          workers: [
            { host: 'node1', pid: 17, worker: '1/2' },
            { host: 'node2', pid: 4, worker: '2/2' },
          ],
        },
      ],
      pieces: [
        { kind: 'sweep', host: 'node1', pid: 17, share: 0.43 },
        { kind: 'encoded', host: 'node3', pid: 9, share: 0.5 },
      ],
    };
    const shared = new RunTree(studio, { all: () => seen, onDidChange: new vscode.EventEmitter<void>().event });
    const shown = async (id: string): Promise<unknown[]> => {
      const item = await shared.getTreeItem(id);
      return [labelOf(item), item.description];
    };
    const [job, rest] = shared.getChildren();
    assert.deepEqual(await shown(job!), [
      'Llama-405B',
      '46 %, Measuring costs, matrix 413 of 882, 2 workers on 2 hosts',
    ]);
    assert.deepEqual(await Promise.all(shared.getChildren(job).map(shown)), [
      ['node1, process 17', '1/2, sweep, 43 %'],
      ['node2, process 4', '2/2'],
    ]);
    assert.deepEqual(await shown(rest!), ['At work on the cache', '1 piece']);
    assert.deepEqual(await Promise.all(shared.getChildren(rest).map(shown)), [['node3, process 9', 'encoded, 50 %']]);
    shared.dispose();
  });

  it('finds on the cache the claims of other hosts, and none of its own engine', async () => {
    const cache = inWorkspace('shared-cache');
    await vscode.workspace.getConfiguration('lqStudio').update('cache.folder', cache.fsPath, true);
    const workers = new Workers(studio);
    try {
      await compressed(studio, 'on-shared-lq', 4);
      const pid = await studio.engine.pid();
      assert.ok(pid !== undefined);
      const claim = (host: string, of: number) =>
        JSON.stringify({ owner: `${host} ${of}`, host, space: host, pid: of, progress: { done: 3, total: 4 } });
      const write = (kind: string, name: string, text: string) =>
        vscode.workspace.fs.writeFile(vscode.Uri.joinPath(cache, kind, name), new TextEncoder().encode(text));
      const put = (key: string, text: string, kind = 'sweep', extension = 'json') =>
        write(kind, `${key.repeat(64)}.${extension}.claim`, text);
      await put('a', claim('node1', 17));
      await put('b', claim(hostname(), pid));
      await put('c', claim('node2', 4), 'encoded', 'parts');
      // Two workers of a job, one of which has ended.
      const said = { job: 'j', label: 'Llama-405B', stage: 'sweep', total: 10, found: 0 };
      for (const [key, worker, computed] of [
        ['d', '1/2', 3],
        ['e', '2/2', 4],
      ] as const)
        await write('shard', `${key.repeat(64)}.json`, JSON.stringify({ ...said, worker, computed }));
      await put('d', claim('node1', 17), 'shard');
      await workers.look();
      assert.deepEqual(workers.all(), {
        jobs: [
          {
            label: 'Llama-405B',
            stages: [{ stage: 'sweep', done: 7, total: 10 }],
            workers: [{ host: 'node1', pid: 17, worker: '1/2' }],
          },
        ],
        pieces: [
          { kind: 'sweep', host: 'node1', pid: 17, share: 0.75 },
          { kind: 'encoded', host: 'node2', pid: 4, share: 0.75 },
        ],
      });
    } finally {
      workers.dispose();
      await vscode.workspace.getConfiguration('lqStudio').update('cache.folder', undefined, true);
      await vscode.workspace.fs.delete(cache, { recursive: true });
      await vscode.workspace.fs.delete(inWorkspace('on-shared-lq'), { recursive: true });
    }
  });

  it('clears what failed and nothing else, and removes what is asked for', async () => {
    const { id } = studio.jobs.start(
      'evaluate',
      { model: sample(), text: inWorkspace('no-such.txt').fsPath },
      'Evaluate without a text',
    );
    assert.equal((await studio.jobs.settled(id)).status, 'failed');
    assert.equal((await tree.getTreeItem(id)).contextValue, 'job.stopped');
    await vscode.commands.executeCommand('lqStudio.clearFailed');
    const left = tree.getChildren();
    assert.ok(!left.includes(id));
    assert.ok(left.includes(small) && left.includes(large));
    await vscode.commands.executeCommand('lqStudio.removeRun', small);
    assert.ok(!tree.getChildren().includes(small));
    // The list forgets a run; what it wrote stays.
    await vscode.workspace.fs.stat(inWorkspace('small-lq', 'config.json'));
  });
});
