/** Typed reads from config.json; a field of another type than its meaning has is an error that names it. */
import { LqError } from '../errors';

/** Sizes are 32-bit numbers in native code. */
const LARGEST_SIZE = 2 ** 31 - 1;
/** Far more than any model has, and few enough to list. */
export const MOST_LAYERS = 100_000;

export class ConfigReader {
  constructor(
    private readonly values: Readonly<Record<string, unknown>>,
    readonly file: string,
    private readonly prefix = '',
  ) {}

  /** @throws LqError 'unsupported-model'. */
  refuse(what: string): never {
    throw new LqError('unsupported-model', `${what}.`, { file: this.file });
  }

  /** Whether there is such a key, null included: some defaults are for absent keys alone. */
  stated(name: string): boolean {
    return this.values[name] !== undefined;
  }

  get names(): string[] {
    return Object.keys(this.values);
  }

  isObject(name: string): boolean {
    const value = this.values[name];
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  }

  has(name: string): boolean {
    return this.values[name] !== undefined && this.values[name] !== null;
  }

  /** A finite number; absent or null is `fallback`, or an error without one. */
  number(name: string, fallback?: number): number {
    const value = this.values[name] ?? fallback;
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    if (value === undefined) this.refuse(`config.json has no ${this.prefix}${name}`);
    this.refuse(`${this.prefix}${name} in config.json is not a number: ${JSON.stringify(value)}`);
  }

  /** A whole number from 1 to `most`; absent or null is `fallback`, or an error without one. */
  count(name: string, fallback?: number, most = LARGEST_SIZE): number {
    const value = this.number(name, fallback);
    if (!Number.isInteger(value) || value <= 0)
      this.refuse(`${this.prefix}${name} in config.json is not a whole number above 0: ${JSON.stringify(value)}`);
    if (value > most) this.refuse(`${this.prefix}${name} in config.json is ${value}; at most ${most} is possible`);
    return value;
  }

  /** A boolean; absent or null is false. */
  flag(name: string): boolean {
    const value = this.values[name] ?? false;
    if (typeof value === 'boolean') return value;
    this.refuse(`${this.prefix}${name} in config.json is not true or false: ${JSON.stringify(value)}`);
  }

  text(name: string, fallback: string): string {
    const value = this.values[name] ?? fallback;
    if (typeof value === 'string') return value;
    this.refuse(`${this.prefix}${name} in config.json is not a text: ${JSON.stringify(value)}`);
  }

  /** An array, or undefined when it is absent or null. */
  list(name: string): readonly unknown[] | undefined {
    const value = this.values[name] ?? undefined;
    if (value === undefined || Array.isArray(value)) return value;
    this.refuse(`${this.prefix}${name} in config.json is not a list`);
  }

  /** A nested object, or undefined when it is absent or null. */
  object(name: string): ConfigReader | undefined {
    const value = this.values[name] ?? undefined;
    if (value === undefined) return undefined;
    if (typeof value !== 'object' || Array.isArray(value)) {
      this.refuse(`${this.prefix}${name} in config.json is not an object`);
    }
    return new ConfigReader(value as Record<string, unknown>, this.file, `${this.prefix}${name}.`);
  }
}
