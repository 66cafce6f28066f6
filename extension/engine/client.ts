/**
 * Starts the engine as a child process and speaks its protocol. The editor and the command line both use this class and
 * nothing else of the engine.
 *
 * A dead engine rejects everything pending with the reason; the next request starts a new one, later and later when it
 * keeps dying before finishing anything. Finished work is safe: stages write results as they go.
 */
import { fork, type ChildProcess } from 'node:child_process';
import {
  CancellationTokenSource,
  createMessageConnection,
  IPCMessageReader,
  IPCMessageWriter,
  ResponseError,
  type MessageConnection,
} from 'vscode-jsonrpc/node';
import { LqError, type ErrorData } from '../core/errors';
import type { EngineClient } from '../protocol/client';
import {
  PROTOCOL_VERSION,
  type EngineMethod,
  type EngineNotifications,
  type EngineParams,
  type EngineResult,
} from '../protocol/engine';
import { type Progress } from '../core/progress';

export interface EngineOptions {
  /** The engine bundle, dist/engine.js. */
  entry: string;
  /** Who asks, for the engine's log. */
  client: string;
  /** Node binary; the editor's own by default. */
  execPath?: string;
  env?: NodeJS.ProcessEnv;
  onLog?: (level: 'info' | 'warning' | 'error', message: string) => void;
}

type State = EngineClient['state'];
interface Pending {
  reject: (error: LqError) => void;
  onProgress: ((progress: Progress) => void) | undefined;
}
interface Running {
  child: ChildProcess;
  connection: MessageConnection;
}

const BACK_OFF_STEP_MS = 250;
const BACK_OFF_LIMIT_MS = 8000;
/** Lines of stderr kept to explain a death. */
const STDERR_TAIL = 20;

class EngineProcess implements EngineClient {
  state: State = 'stopped';
  private running: Promise<Running> | undefined;
  private readonly pending = new Map<number, Pending>();
  private readonly listeners = new Set<(state: State, reason?: string) => void>();
  private nextId = 1;
  private deaths = 0;
  private disposed = false;
  private stderr: string[] = [];
  private child: ChildProcess | undefined;

  constructor(private readonly options: EngineOptions) {}

  get pid(): number | undefined {
    return this.child?.pid;
  }

  async request<M extends EngineMethod>(
    method: M,
    params: EngineParams<M>,
    { signal, onProgress }: { signal?: AbortSignal; onProgress?: (progress: Progress) => void } = {},
  ): Promise<EngineResult<M>> {
    refuseAborted(signal);
    const { connection } = await this.start();
    // A cancellation sent ahead of its request would be lost.
    refuseAborted(signal);
    const id = this.nextId++;
    const cancellation = new CancellationTokenSource();
    const cancel = (): void => cancellation.cancel();
    signal?.addEventListener('abort', cancel);
    try {
      return await new Promise<EngineResult<M>>((resolve, reject) => {
        this.pending.set(id, { reject, onProgress });
        connection
          .sendRequest<EngineResult<M>>(method, { request: id, params }, cancellation.token)
          .then(resolve, (error: unknown) => reject(toLqError(error)));
      });
    } finally {
      this.pending.delete(id);
      this.deaths = this.state === 'running' ? 0 : this.deaths;
      signal?.removeEventListener('abort', cancel);
      cancellation.dispose();
    }
  }

  onStateChange(listener: (state: State, reason?: string) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  dispose(): void {
    this.disposed = true;
    this.child?.kill();
    this.rejectAll('The engine was stopped.');
    this.setState('stopped');
  }

  private start(): Promise<Running> {
    if (this.disposed) return Promise.reject(new LqError('engine-died', 'The engine was stopped.'));
    this.running ??= this.launch().catch((error: unknown) => {
      this.running = undefined;
      throw LqError.from(error);
    });
    return this.running;
  }

  private async launch(): Promise<Running> {
    this.setState('starting');
    if (this.deaths > 0) {
      const wait = Math.min(BACK_OFF_STEP_MS * 2 ** (this.deaths - 1), BACK_OFF_LIMIT_MS);
      await new Promise(resolve => setTimeout(resolve, wait));
      // Stopped while it waited: there is nobody left to work for.
      if (this.disposed) throw new LqError('engine-died', 'The engine was stopped.');
    }
    this.stderr = [];
    const child = fork(this.options.entry, [], {
      execPath: this.options.execPath ?? process.execPath,
      // Under Electron the editor's binary behaves as Node only when told so.
      env: { ...(this.options.env ?? process.env), ELECTRON_RUN_AS_NODE: '1' },
      execArgv: [],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    this.child = child;
    const keep = (data: Buffer): void => {
      const lines = data.toString().split('\n').filter(Boolean);
      this.stderr = [...this.stderr, ...lines].slice(-STDERR_TAIL);
      for (const line of lines) this.options.onLog?.('warning', line);
    };
    child.stderr?.on('data', keep);
    child.stdout?.on('data', keep);
    const connection = createMessageConnection(new IPCMessageReader(child), new IPCMessageWriter(child));
    connection.onError(([error]) => this.options.onLog?.('error', error.message));
    connection.onNotification('progress', (message: EngineNotifications['progress']) =>
      this.pending.get(message.request)?.onProgress?.(message.progress),
    );
    connection.onNotification('log', ({ level, message }: EngineNotifications['log']) =>
      this.options.onLog?.(level, message),
    );
    const died = new Promise<never>((_, reject) => {
      child.on('error', error => reject(this.die(child, `could not be started: ${error.message}`)));
      child.on('exit', (code, signal) =>
        reject(this.die(child, signal === null ? `ended with exit code ${code}` : `was killed by ${signal}`)),
      );
    });
    died.catch(() => undefined);
    connection.listen();
    const shake = connection.sendRequest<EngineResult<'handshake'>>('handshake', {
      request: 0,
      params: { version: PROTOCOL_VERSION, client: this.options.client },
    });
    let answer: EngineResult<'handshake'>;
    try {
      answer = await Promise.race([shake, died]);
    } catch (error) {
      child.kill();
      throw toLqError(error);
    }
    if (answer.version !== PROTOCOL_VERSION) {
      child.kill();
      throw new LqError(
        'engine-version',
        `The engine speaks protocol ${answer.version}, this client ${PROTOCOL_VERSION}: reinstall LQ Studio.`,
        { file: this.options.entry },
      );
    }
    this.setState('running');
    return { child, connection };
  }

  private die(child: ChildProcess, how: string): LqError {
    const tail = this.stderr.length > 0 ? ` Last words: ${this.stderr.join(' | ')}` : '';
    const reason = `The engine ${how}.${tail}`;
    if (this.child === child) {
      this.child = undefined;
      this.running = undefined;
      if (!this.disposed) {
        this.deaths++;
        this.setState('failed', reason);
      }
      this.rejectAll(reason);
    }
    return new LqError('engine-died', reason);
  }

  private rejectAll(reason: string): void {
    for (const { reject } of this.pending.values()) reject(new LqError('engine-died', reason));
    this.pending.clear();
  }

  private setState(state: State, reason?: string): void {
    if (this.state === state) return;
    this.state = state;
    for (const listener of this.listeners) listener(state, reason);
  }
}

function refuseAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new LqError('cancelled', 'Cancelled.');
}

function toLqError(error: unknown): LqError {
  if (error instanceof ResponseError && isErrorData(error.data)) return LqError.fromData(error.data);
  return LqError.from(error);
}

function isErrorData(data: unknown): data is ErrorData {
  return typeof data === 'object' && data !== null && 'code' in data && 'message' in data;
}

/** An engine that starts on the first request. */
export function createEngineClient(options: EngineOptions): EngineClient {
  return new EngineProcess(options);
}
