import * as vscode from 'vscode';
import { LqError } from '../core/errors';
import type { EngineClient } from '../protocol/client';
import type { EngineMethod, EngineParams, EngineResult } from '../protocol/engine';
import type { Progress } from '../core/progress';

type RequestOptions = { signal?: AbortSignal; onProgress?: (progress: Progress) => void };

/** The engine as panels are told of it. */
export interface EngineState {
  state: EngineClient['state'];
  reason?: string;
}

/**
 * Owns the engine's life in this window: made on the first request of a trusted workspace, told apart from a stopped one
 * when it dies, replaced on restart. Everything asked and how long it took goes to the output channel.
 */
export class Engine implements Pick<EngineClient, 'request'>, vscode.Disposable {
  private client: Promise<EngineClient> | undefined;
  private readonly changed = new vscode.EventEmitter<EngineState>();
  private current: EngineState = { state: 'stopped' };
  readonly onDidChange = this.changed.event;

  /** @param create makes a client; it starts nothing by itself. */
  constructor(
    private readonly create: () => Promise<EngineClient>,
    private readonly output: vscode.LogOutputChannel,
  ) {}

  get state(): EngineState {
    return this.current;
  }

  /** Of its process, undefined while none runs. */
  async pid(): Promise<number | undefined> {
    return (await this.client)?.pid;
  }

  async request<M extends EngineMethod>(
    method: M,
    params: EngineParams<M>,
    options: RequestOptions = {},
  ): Promise<EngineResult<M>> {
    requireTrust();
    const client = await this.open();
    const started = performance.now();
    // Plans follow the slider; one line each would bury the rest.
    const level = method === 'plan' ? 'trace' : 'info';
    this.output[level](`${method} ${JSON.stringify(params)}`);
    try {
      const result = await client.request(method, params, options);
      this.output[level](`${method} took ${((performance.now() - started) / 1000).toFixed(2)} s`);
      return result;
    } catch (thrown) {
      const error = LqError.from(thrown);
      if (error.code === 'cancelled') this.output[level](`${method} was cancelled`);
      else this.output.error(`${method}: ${error.code}: ${error.message}`);
      throw error;
    }
  }

  /** Stops the engine; what is pending is rejected, the next request starts another. */
  restart(): void {
    if (this.client) this.close();
    else this.report({ state: 'stopped' });
  }

  dispose(): void {
    this.changed.dispose();
    this.close();
  }

  private open(): Promise<EngineClient> {
    return (this.client ??= this.make());
  }

  private async make(): Promise<EngineClient> {
    const client = await this.create();
    client.onStateChange((state, reason) => {
      this.report({ state, ...(reason !== undefined && { reason }) });
    });
    return client;
  }

  private close(): void {
    void this.client?.then(client => client.dispose());
    this.client = undefined;
  }

  private report(state: EngineState): void {
    this.current = state;
    this.output.info(`The engine is ${state.state}.${state.reason === undefined ? '' : ` ${state.reason}`}`);
    this.changed.fire(state);
  }
}

/** Computing runs native code over files that a stranger may have made: only in workspaces that are trusted. */
export function requireTrust(): void {
  if (!vscode.workspace.isTrusted) {
    throw new LqError('usage', 'Values are computed only in trusted workspaces; headers can be inspected in any.');
  }
}
