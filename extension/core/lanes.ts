/**
 * Matrix after matrix over the lanes of the devices at work, or windows of a text over the devices. A device with several lanes
 * reads and prepares one matrix while it computes another, and is filled by several small ones; several devices share a model by
 * the matrix, and a text by its windows.
 */
import type { Progress } from './progress';
import { stageReporter, throwIfCancelled, type PipelineContext } from './context';

/** Reports how much of an item is done, from 0 to 1. */
export type ItemReport = (share: number, extra?: Pick<Progress, 'partial' | 'waitingFor'>) => void;

/** Given back for an item that another process is at. */
export const BUSY = Symbol('another process is at it');

export interface LaneJob<T, R> {
  readonly stage: Progress['stage'];
  readonly items: readonly T[];
  /** Absent: progress does not tell of items. */
  nameOf?(item: T): string;
  /** Work an item takes, in the units that progress counts. */
  weightOf(item: T): number;
  /**
   * `lane` is the context with the device to use. An item that gives BUSY comes again after all others, then with
   * `patient`, which is to wait for the process that is at it.
   */
  work(lane: PipelineContext, item: T, report: ItemReport, patient: boolean): Promise<R | typeof BUSY>;
}

/** Items in a row, as a part of all. */
export interface Part {
  readonly first: number;
  readonly count: number;
}

/** `count` items in `parts` of nearly equal size, or as many as there are items. */
export function cutIntoParts(count: number, parts: number): Part[] {
  const most = Math.max(Math.min(parts, count), 1);
  const cut = (part: number): number => Math.floor((part * count) / most);
  return Array.from({ length: most }, (_, part) => ({ first: cut(part), count: cut(part + 1) - cut(part) }));
}

/**
 * A part of `count` windows on each device, in their order: results by part. `done` is told the windows done of a part; progress
 * counts windows. Errors: those of `work`, cancelled.
 */
export function overDevices<R>(
  context: PipelineContext,
  stage: Progress['stage'],
  count: number,
  work: (lane: PipelineContext, part: Part, done: (windows: number) => void) => Promise<R>,
): Promise<R[]> {
  return overLanes<Part, R>(
    { ...context, lanes: context.devices },
    {
      stage,
      items: cutIntoParts(count, context.devices.length),
      weightOf: part => part.count,
      work: (lane, part, report) => work(lane, part, windows => report(windows / part.count)),
    },
  );
}

/**
 * Results in the order of the items, which start in that order too, except those that another process is at. The first failure cancels what is under way elsewhere
 * and is thrown once all of it has stopped. Errors: those of `work`, cancelled.
 */
export async function overLanes<T, R>(context: PipelineContext, job: LaneJob<T, R>): Promise<R[]> {
  const { items, weightOf, nameOf } = job;
  const shares = items.map(() => 0);
  const report = stageReporter(
    context,
    job.stage,
    items.reduce((sum, item) => sum + weightOf(item), 0),
  );
  const done = (): number => items.reduce((sum, item, i) => sum + weightOf(item) * shares[i]!, 0);
  const stop = new AbortController();
  const cancel = (): void => stop.abort();
  context.signal.addEventListener('abort', cancel);
  const results: R[] = [];
  const failures: unknown[] = [];
  const queue = items.map((_, i) => ({ i, patient: false }));
  const run = async (device: string): Promise<void> => {
    const lane: PipelineContext = { ...context, device, devices: [device], lanes: [device], signal: stop.signal };
    for (let turn; failures.length === 0 && (turn = queue.shift()) !== undefined;) {
      const { i, patient } = turn;
      const item = items[i]!;
      const reportItem: ItemReport = (share, extra = {}) => {
        shares[i] = share;
        const count = { done: shares.filter(each => each === 1).length, total: items.length };
        report(done(), { ...(nameOf && { item: nameOf(item), count }), ...extra });
      };
      try {
        throwIfCancelled(context);
        reportItem(0);
        const result = await job.work(lane, item, reportItem, patient);
        if (result === BUSY) {
          queue.push({ i, patient: true });
          continue;
        }
        results[i] = result;
        if (shares[i] !== 1) reportItem(1);
      } catch (error) {
        failures.push(error);
        stop.abort();
      }
    }
  };
  try {
    await Promise.all(context.lanes.map(run));
  } finally {
    context.signal.removeEventListener('abort', cancel);
  }
  if (failures.length > 0) throw failures[0];
  return results;
}
