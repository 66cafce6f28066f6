/** Reading a GGUF header forwards, a window of the file at a time, without trusting a length in it. */
import { LqError, type ErrorCode } from '../../errors';
import { baseName } from '../../format';
import type { FileSystem } from '../../files/types';

const FIRST_WINDOW = 64 * 1024;
const WINDOW = 1024 * 1024;
/** Longer strings are skipped, never kept. */
const LONGEST_STRING = 64 * 1024 * 1024;

/**
 * A position in a file. Numbers are little-endian. What the file's size cannot hold is an error before it is read:
 * `need` is called with a length that comes from the file.
 */
export class HeaderCursor {
  private window = new Uint8Array(0) as Uint8Array;
  private view: DataView = new DataView(new ArrayBuffer(0));
  private start = 0;
  private position = 0;

  constructor(
    private readonly files: FileSystem,
    readonly file: string,
    readonly fileBytes: number,
  ) {}

  /** Absolute offset of the next byte. */
  get offset(): number {
    return this.start + this.position;
  }

  /** @throws LqError that says what the file is where its name says otherwise. */
  fail(code: ErrorCode, message: string, tensor?: string): never {
    const misnamed = this.file.toLowerCase().endsWith('.gguf')
      ? ''
      : `${baseName(this.file)} is a GGUF file by its content: `;
    throw new LqError(code, misnamed + message, { file: this.file, ...(tensor !== undefined && { tensor }) });
  }

  /** Whether `bytes` bytes are at hand; `fill` brings them. */
  private has(bytes: number): boolean {
    return this.position + bytes <= this.window.length;
  }

  /** @throws LqError 'header-length' when the file ends before. */
  async need(bytes: number, what: string): Promise<void> {
    if (this.has(bytes)) return;
    const at = this.offset;
    if (bytes > this.fileBytes - at)
      this.fail('header-length', `the file ends at byte ${this.fileBytes}, inside ${what}: truncated`);
    const length = Math.min(this.fileBytes - at, Math.max(bytes, this.window.length === 0 ? FIRST_WINDOW : WINDOW));
    this.window = await this.files.read(this.file, at, length);
    this.view = new DataView(this.window.buffer, this.window.byteOffset, this.window.byteLength);
    this.start = at;
    this.position = 0;
  }

  /** @throws LqError 'header-length' when the file ends before. */
  skip(bytes: number, what: string): void {
    if (bytes > this.fileBytes - this.offset)
      this.fail('header-length', `${what} reaches beyond the file's ${this.fileBytes} bytes: truncated`);
    this.position += bytes;
    if (this.position > this.window.length) {
      this.start += this.position;
      this.position = 0;
      this.window = this.window.subarray(0, 0);
    }
  }

  async u32(what: string): Promise<number> {
    await this.need(4, what);
    this.position += 4;
    return this.view.getUint32(this.position - 4, true);
  }

  /** Exact below 2^53; `beyond` says what to do with more. */
  async u64(what: string): Promise<number | bigint> {
    await this.need(8, what);
    const high = this.view.getUint32(this.position + 4, true);
    const low = this.view.getUint32(this.position, true);
    this.position += 8;
    return high < 0x20_0000 ? high * 0x1_0000_0000 + low : (BigInt(high) << 32n) | BigInt(low);
  }

  async bytes(length: number, what: string): Promise<Uint8Array> {
    await this.need(length, what);
    this.position += length;
    return this.window.subarray(this.position - length, this.position);
  }

  async data(length: number, what: string): Promise<DataView> {
    const bytes = await this.bytes(length, what);
    return new DataView(bytes.buffer, bytes.byteOffset, length);
  }

  /** A string of at most `longest` bytes of valid UTF-8. */
  async string(what: string, longest = LONGEST_STRING): Promise<string> {
    const length = await this.u64(`the length of ${what}`);
    if (length > longest) this.fail('header-entry', `${what} is ${length} bytes long; at most ${longest} are allowed`);
    const bytes = await this.bytes(Number(length), what);
    try {
      return decoder.decode(bytes);
    } catch {
      this.fail('header-entry', `${what} is not valid UTF-8`);
    }
  }

  /** Passes over `count` strings by their lengths. */
  async skipStrings(count: number, what: string): Promise<void> {
    for (let i = 0; i < count; i++) {
      if (!this.has(8)) await this.need(8, what);
      const high = this.view.getUint32(this.position + 4, true);
      const length = this.view.getUint32(this.position, true);
      if (high !== 0) this.fail('header-length', `a string of ${what} is longer than the file: truncated`);
      if (this.has(8 + length)) this.position += 8 + length;
      else this.skip(8 + length, what);
    }
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
