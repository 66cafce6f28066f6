/**
 * What every stage is given besides its input: the native module, a file system, where to cache, how to report and when to
 * stop. Stages are plain functions of (context, input), so tests and the two front ends run the same code.
 */
import type { NativeControl, NativeModule } from './native';
import type { Progress, Stage } from './progress';
import type { ProcessIdentity, WritableFileSystem } from './files/types';
import { LqError, type ErrorCode } from './errors';

export interface PipelineContext {
  readonly native: NativeModule;
  readonly files: WritableFileSystem;
  /** Resolved device id: 'cpu' or 'cuda:N'. With several at work, the first. */
  readonly device: string;
  /** Every device at work, once: windows of a text go over them, and each has the model whole. */
  readonly devices: readonly string[];
  /** A device id for every matrix that may be worked on at once (`overLanes`); one device appears once or more often. */
  readonly lanes: readonly string[];
  readonly precision: Precision;
  /** Threads of a native call on the CPU; 0: all cores. */
  readonly threads: number;
  /** Folder of reusable results. */
  readonly cache: string;
  readonly seed: number;
  /** This process, for claims on shared folders. */
  readonly self: ProcessIdentity;
  /** Milliseconds without a heartbeat after which another process's claim may be taken over. */
  readonly claimTimeout: number;
  readonly signal: AbortSignal;
  /** Hash of a text, for cache keys: hex, at least 128 bits. */
  digest(text: string): string;
  /** Milliseconds of a monotonic clock. */
  now(): number;
  report(progress: Progress): void;
  /** Of a worker of a job that several share. */
  readonly post?: Post;
  log(level: 'info' | 'warning', message: string): void;
}

/** Where a worker tells those who watch what of a shared job is done (storage/posts.ts). */
export interface Post {
  /** A stage of so many pieces, of all workers. */
  begin(stage: Stage, pieces: number): void;
  /** Pieces done by this worker, or found done. */
  done(how: 'computed' | 'found', pieces?: number): void;
}

/** The kind of backend at work. Its results differ from another kind's by rounding, so cached results are kept apart. */
export const backendOf = (context: PipelineContext): 'cpu' | 'cuda' => (context.device === 'cpu' ? 'cpu' : 'cuda');

/** What products of language models are computed in. */
export interface Precision {
  /**
   * `bf16`: sums of two bf16 terms an operand, added up in fp32 (native/include/lq/language_model.h). `tensor-cores`: CUDA's, of
   * bf16 operands, in two terms where weights are no bf16 numbers.
   */
  readonly used: 'fp32' | 'bf16' | 'tensor-cores';
  /** Whether it was asked for, or chosen for the machine. */
  readonly asked: boolean;
}

/**
 * What figures of a language model are cached under. A precision that the machine chose differs from another's by less than
 * kinds of backends do and is kept with them, as instruction sets are; who asks for one gets figures of that one.
 */
export const arithmeticOf = (context: PipelineContext): string =>
  context.precision.asked ? `${backendOf(context)} ${context.precision.used}` : backendOf(context);

/** What the addon is told of it. */
export const nativePrecision = ({ precision }: Pick<PipelineContext, 'precision'>): { precision?: 'bf16' } =>
  precision.used === 'bf16' ? { precision: 'bf16' } : {};

/** The devices at work as a result names them: 'cpu', 'cuda:0', 'cuda:0 + cuda:1'. */
export const devicesOf = (context: Pick<PipelineContext, 'devices'>): string =>
  [...new Set(context.devices)].join(' + ');

/** What a native call concerns, for its error. */
export interface Where {
  file?: string;
  tensor?: string;
}

const NATIVE_CODES: Readonly<Record<string, ErrorCode>> = {
  cancelled: 'cancelled',
  not_finite: 'not-finite',
  out_of_range: 'out-of-range',
  out_of_memory: 'out-of-memory',
  device_memory: 'device-memory',
  device_error: 'device-unavailable',
  io_error: 'io',
  unsupported: 'unsupported-dtype',
  invalid_argument: 'internal',
};
/** ENOSPC and EDQUOT. */
const DISK_FULL = [28, 122];

/**
 * A rejection of the addon as the product's error, with the file and tensor it happened in: those the addon names where
 * one call reads many, else the caller's.
 */
export function nativeError(error: unknown, caller: Where): LqError {
  if (error instanceof LqError) return error;
  const { code, index, message, file, tensor } = error as { code?: string; index?: number; message?: string } & Where;
  const where = { ...caller, ...(file !== undefined && { file }), ...(tensor !== undefined && { tensor }) };
  if (code === undefined || !(code in NATIVE_CODES)) return new LqError('internal', message ?? String(error), where);
  if (code === 'io_error' && DISK_FULL.includes(index ?? -1))
    return new LqError('disk-full', `The disk is full: ${message ?? ''}`, where);
  if (code === 'not_finite') {
    const place = where.tensor === undefined ? 'A weight' : where.tensor;
    return new LqError('not-finite', `${place} has a NaN or infinite value at flat index ${index ?? -1}.`, {
      ...where,
      details: { index: index ?? -1 },
    });
  }
  if (code === 'out_of_range') {
    const message = `${where.tensor ?? 'A weight'} has a value too large to be squared at flat index ${index ?? -1}.`;
    return new LqError('out-of-range', message, { ...where, details: { index: index ?? -1 } });
  }
  return new LqError(NATIVE_CODES[code] as ErrorCode, message ?? code, where);
}

export function throwIfCancelled(context: PipelineContext): void {
  if (context.signal.aborted) throw new LqError('cancelled', 'Cancelled.');
}

/**
 * Runs one native call: hands it a cancellation flag tied to the context's signal and turns its rejection into an LqError
 * that names file and tensor.
 */
export async function callNative<T>(
  context: PipelineContext,
  where: Where,
  work: (control: NativeControl) => Promise<T>,
  progress?: (done: number, total: number) => void,
): Promise<T> {
  throwIfCancelled(context);
  const cancel = new Int32Array(new SharedArrayBuffer(4));
  const stop = (): void => void Atomics.store(cancel, 0, 1);
  context.signal.addEventListener('abort', stop);
  try {
    return await work({ cancel, threads: context.threads, ...(progress !== undefined && { progress }) });
  } catch (error) {
    throw nativeError(error, where);
  } finally {
    context.signal.removeEventListener('abort', stop);
  }
}

/** Reports a stage's progress with the time left estimated from the pace so far. */
export function stageReporter(
  context: PipelineContext,
  stage: Progress['stage'],
  total: number,
): (done: number, extra?: Pick<Progress, 'item' | 'partial' | 'count' | 'waitingFor'>) => void {
  const start = context.now();
  return (done, extra = {}) => {
    const elapsed = (context.now() - start) / 1000;
    const secondsLeft = done > 0 && elapsed > 0.5 ? (elapsed * (total - done)) / done : undefined;
    context.report({
      stage,
      done,
      total,
      device: devicesOf(context),
      ...extra,
      ...(secondsLeft !== undefined && { secondsLeft }),
    });
  };
}
