/**
 * Every failure a user can meet has a code, a sentence, and the file and tensor it concerns. Codes are part of the
 * command line's contract (`{error: {code, message, file, tensor}}`) and cross the engine protocol unchanged.
 */
export type ErrorCode =
  // safetensors and checkpoint structure
  | 'header-too-small'
  | 'header-too-large'
  | 'header-length'
  | 'header-json'
  | 'header-entry'
  | 'unknown-dtype'
  | 'tensor-size'
  | 'tensor-overflow'
  | 'tensor-overlap'
  | 'tensor-hole'
  | 'file-coverage'
  | 'duplicate-tensor'
  | 'index-json'
  | 'config-json'
  | 'shard-missing'
  | 'shard-disagrees'
  | 'not-a-checkpoint'
  | 'file-not-found'
  | 'tensor-not-found'
  // content
  | 'not-finite'
  | 'out-of-range'
  | 'unsupported-dtype'
  | 'unsupported-model'
  | 'tokenizer'
  | 'text-too-short'
  | 'text-encoding'
  | 'no-targets'
  | 'unhealthy'
  | 'packed-format'
  | 'fisher-mismatch'
  | 'calibration-mismatch'
  | 'sweep-mismatch'
  // planning
  | 'budget-infeasible'
  | 'solver'
  // machine
  | 'disk-full'
  | 'io'
  | 'output-exists'
  | 'cache-foreign'
  | 'out-of-memory'
  | 'device-memory'
  | 'device-unavailable'
  | 'native-missing'
  | 'engine-died'
  | 'engine-version'
  // use
  | 'cancelled'
  | 'usage'
  | 'internal';

/** The wire form of an error, also what `--json` prints. */
export interface ErrorData {
  code: ErrorCode;
  message: string;
  file?: string;
  tensor?: string;
  /** Numbers worth showing, such as the smallest feasible budget. */
  details?: Record<string, number | string>;
}

/** The only error type thrown on purpose; anything else is a bug and reported as `internal`. */
export class LqError extends Error {
  readonly code: ErrorCode;
  readonly file?: string;
  readonly tensor?: string;
  readonly details?: Record<string, number | string>;

  constructor(code: ErrorCode, message: string, where: Omit<ErrorData, 'code' | 'message'> = {}) {
    super(message);
    this.name = 'LqError';
    this.code = code;
    if (where.file !== undefined) this.file = where.file;
    if (where.tensor !== undefined) this.tensor = where.tensor;
    if (where.details !== undefined) this.details = where.details;
  }

  /** Plain data for the protocol and for `--json`. */
  toJSON(): ErrorData {
    return {
      code: this.code,
      message: this.message,
      ...(this.file !== undefined && { file: this.file }),
      ...(this.tensor !== undefined && { tensor: this.tensor }),
      ...(this.details !== undefined && { details: this.details }),
    };
  }

  /** Wraps whatever was thrown, keeping a typed error as it is. */
  static from(error: unknown): LqError {
    if (error instanceof LqError) return error;
    const message = error instanceof Error ? error.message : String(error);
    return new LqError('internal', message);
  }

  static fromData(data: ErrorData): LqError {
    return new LqError(data.code, data.message, data);
  }
}
