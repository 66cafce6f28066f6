import { describe, expect, it } from 'vitest';
import type { PipelineContext } from '../../../extension/core/context';
import { LqError } from '../../../extension/core/errors';
import { overLanes } from '../../../extension/core/lanes';
import { lanesOf } from '../../../extension/engine/session';
import type { Progress } from '../../../extension/core/progress';

function contextOf(lanes: string[], signal = new AbortController().signal) {
  const reports: Progress[] = [];
  const context = {
    device: lanes[0]!,
    devices: [...new Set(lanes)],
    lanes,
    signal,
    now: () => 0,
    report: (progress: Progress) => void reports.push(progress),
  } as unknown as PipelineContext;
  return { context, reports };
}

const job = <R>(items: number[], work: (device: string, item: number, signal: AbortSignal) => Promise<R>) => ({
  stage: 'sweep' as const,
  items,
  nameOf: (item: number) => `matrix ${item}`,
  weightOf: (item: number) => item,
  work: (lane: PipelineContext, item: number) => work(lane.device, item, lane.signal),
});
const pause = (milliseconds: number) => new Promise(resolve => setTimeout(resolve, milliseconds));

describe('work over lanes', () => {
  it('gives results in the order of the items and every device its share', async () => {
    const { context, reports } = contextOf(['cuda:0', 'cuda:1', 'cuda:0', 'cuda:1']);
    const devices = new Set<string>();
    let atOnce = 0;
    let most = 0;
    const results = await overLanes(
      context,
      job([5, 1, 4, 2, 3, 6], async (device, item) => {
        devices.add(device);
        most = Math.max(most, ++atOnce);
        await pause(item);
        atOnce--;
        return item * 10;
      }),
    );
    expect(results).toEqual([50, 10, 40, 20, 30, 60]);
    expect(devices).toEqual(new Set(['cuda:0', 'cuda:1']));
    expect(most).toBe(4);
    expect(reports.at(-1)).toMatchObject({ done: 21, total: 21, device: 'cuda:0 + cuda:1' });
    expect(reports.map(({ done }) => done)).toEqual([...reports.map(({ done }) => done)].sort((a, b) => a - b));
  });

  it('stops the other lanes at the first failure and throws it', async () => {
    const { context } = contextOf(['cuda:0', 'cuda:0']);
    const started: number[] = [];
    const stopped: number[] = [];
    const work = overLanes(
      context,
      job([1, 2, 3, 4], async (_device, item, signal) => {
        started.push(item);
        if (item === 1) throw new LqError('not-finite', 'bad', { tensor: 'matrix 1' });
        await new Promise<void>(resolve => signal.addEventListener('abort', () => resolve()));
        stopped.push(item);
        throw new LqError('cancelled', 'Cancelled.');
      }),
    );
    await expect(work).rejects.toMatchObject({ code: 'not-finite', tensor: 'matrix 1' });
    expect(started).toEqual([1, 2]);
    expect(stopped).toEqual([2]);
  });

  it('is cancelled from outside', async () => {
    const controller = new AbortController();
    const { context } = contextOf(['cpu'], controller.signal);
    const work = overLanes(
      context,
      job([1, 2], async () => controller.abort()),
    );
    await expect(work).rejects.toMatchObject({ code: 'cancelled' });
  });
});

describe('lanes of devices', () => {
  it('go round the devices before they double', () => {
    const devices = [
      { id: 'cuda:0', lanes: 3 },
      { id: 'cuda:1', lanes: 2 },
    ];
    expect(lanesOf(devices)).toEqual(['cuda:0', 'cuda:1', 'cuda:0', 'cuda:1', 'cuda:0']);
  });
});
