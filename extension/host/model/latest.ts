import { LqError } from '../../core/errors';

/**
 * Runs one call at a time and keeps only the newest of those that wait: a slider that asks faster than it is answered
 * gets the answer for where it is now. Every call is answered: one overtaken while waiting rejects with `cancelled`.
 */
export class LatestWins<P, R> {
  private waiting: { params: P; resolve: (result: R) => void; reject: (error: unknown) => void } | undefined;
  private running: { params: P; controller: AbortController } | undefined;

  /**
   * @param run does the work.
   * @param overtakes whether a newer call should stop the running one rather than wait for it.
   */
  constructor(
    private readonly run: (params: P, signal: AbortSignal) => Promise<R>,
    private readonly overtakes: (running: P, newer: P) => boolean = () => false,
  ) {}

  call(params: P): Promise<R> {
    return new Promise<R>((resolve, reject) => {
      this.waiting?.reject(new LqError('cancelled', 'A newer request took its place.'));
      this.waiting = { params, resolve, reject };
      if (!this.running) void this.next();
      else if (this.overtakes(this.running.params, params)) this.running.controller.abort();
    });
  }

  /** Stops what runs and rejects what waits. */
  dispose(): void {
    this.waiting?.reject(new LqError('cancelled', 'The panel was closed.'));
    this.waiting = undefined;
    this.running?.controller.abort();
  }

  private async next(): Promise<void> {
    while (this.waiting) {
      const { params, resolve, reject } = this.waiting;
      this.waiting = undefined;
      this.running = { params, controller: new AbortController() };
      try {
        resolve(await this.run(params, this.running.controller.signal));
      } catch (error) {
        reject(error);
      }
    }
    this.running = undefined;
  }
}
