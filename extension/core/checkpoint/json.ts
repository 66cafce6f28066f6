import type { LqError } from '../errors';

/** Nesting that serde_json, the reference's parser, still follows. */
const MAX_DEPTH = 127;
const U64_LIMIT = 1n << 64n;
const numberToken = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

const plainString = /[^"\\\u0000-\u001f]*/y;

const QUOTE = 34;
const BACKSLASH = 92;
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

/**
 * Pulls values out of JSON text one by one. JSON.parse would hide duplicate keys, round 64-bit integers, turn 1e2 into an
 * integer and let lone surrogates through, all of which the reference safetensors parser tells apart.
 *
 * `fault` makes the error to throw: 'syntax' for text that is not JSON, 'type' for a value of another type than asked for.
 */
export class JsonCursor {
  private at = 0;
  private depth = 0;

  constructor(
    private readonly text: string,
    private readonly fault: (kind: 'syntax' | 'type', message: string) => LqError,
  ) {}

  /** First character of the next value, '' at the end. */
  peek(): string {
    this.space();
    return this.text[this.at] ?? '';
  }

  /** Visits the members of an object; `visit` consumes the value. */
  object(visit: (key: string) => void): void {
    this.open('{');
    if (this.peek() === '}') this.at++;
    else {
      for (;;) {
        if (this.peek() !== '"') throw this.syntax(`expected a key at ${this.at}`);
        const key = this.string();
        this.expect(':');
        visit(key);
        if (this.peek() === '}') break;
        this.expect(',');
      }
      this.at++;
    }
    this.depth--;
  }

  /** Visits the elements of an array; `visit` consumes the value. */
  array(visit: () => void): void {
    this.open('[');
    if (this.peek() === ']') this.at++;
    else {
      for (;;) {
        visit();
        if (this.peek() === ']') break;
        this.expect(',');
      }
      this.at++;
    }
    this.depth--;
  }

  string(): string {
    this.want('"', 'a string');
    const start = this.at + 1;
    // Almost every string is plain, and the expression engine is faster at finding its end than a loop here.
    plainString.lastIndex = start;
    plainString.test(this.text);
    const end = plainString.lastIndex;
    if (this.text.charCodeAt(end) !== QUOTE) return this.escapedString(start, end);
    this.at = end + 1;
    return this.text.slice(start, end);
  }

  /** An unsigned integer below 2^64; a bigint where a number would not be exact. */
  unsigned(): number | bigint {
    if (!/[-\d]/.test(this.peek())) this.want('0', 'an unsigned integer');
    const token = this.numberToken();
    if (token.length <= 15) {
      const value = Number(token);
      // A minus or an exponent makes another text of it than its digits; a fraction does not.
      if (String(value) === token && value >= 0 && Number.isInteger(value)) return value;
      throw this.notUnsigned(token);
    }
    if (token.length > 20 || !/^\d+$/.test(token)) throw this.notUnsigned(token);
    const exact = BigInt(token);
    if (exact >= U64_LIMIT) throw this.notUnsigned(token);
    return exact <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(exact) : exact;
  }

  /** Any number, rounded to double precision. */
  number(): number {
    if (!/[-\d]/.test(this.peek())) this.want('0', 'a number');
    const token = this.numberToken();
    const value = Number(token);
    if (!Number.isFinite(value)) throw this.syntax(`number out of range: ${token.slice(0, 40)}`);
    return value;
  }

  /** Passes over any value, checking its syntax. */
  skip(): void {
    const next = this.peek();
    if (next === '{') this.object(() => this.skip());
    else if (next === '[') this.array(() => this.skip());
    else if (next === '"') this.string();
    else if (!this.literal('null') && !this.literal('true') && !this.literal('false')) this.number();
  }

  /** Consumes null, true or false when it is next. */
  literal(word: 'null' | 'true' | 'false'): boolean {
    this.space();
    if (!this.text.startsWith(word, this.at)) return false;
    this.at += word.length;
    return true;
  }

  /** Nothing but white space may follow the document. */
  end(): void {
    if (this.peek() !== '') throw this.syntax(this.unexpected('the end'));
  }

  private open(bracket: '{' | '['): void {
    this.want(bracket, bracket === '{' ? 'an object' : 'an array');
    this.at++;
    if (++this.depth > MAX_DEPTH) throw this.syntax(`nested deeper than ${MAX_DEPTH} levels`);
  }

  private expect(character: string): void {
    if (this.peek() !== character) throw this.syntax(this.unexpected(`'${character}'`));
    this.at++;
  }

  /** Requires a value that starts with `start`; another value is a matter of type, anything else of syntax. */
  private want(start: string, what: string): void {
    const found = this.peek();
    if (found === start) return;
    throw this.fault(/[-\d"[{tfn]/.test(found) ? 'type' : 'syntax', this.unexpected(what));
  }

  private syntax(message: string): LqError {
    return this.fault('syntax', message);
  }

  private notUnsigned(token: string): LqError {
    return this.fault('type', `expected an unsigned 64-bit integer, found ${token.slice(0, 40)}`);
  }

  private unexpected(wanted: string): string {
    const found = this.text[this.at];
    return `expected ${wanted} at ${this.at}, found ${found === undefined ? 'the end' : JSON.stringify(found)}`;
  }

  private space(): void {
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (code !== 32 && code !== 10 && code !== 13 && code !== 9) return;
      this.at++;
    }
  }

  private numberToken(): string {
    numberToken.lastIndex = this.at;
    const token = numberToken.exec(this.text)?.[0];
    if (token === undefined) throw this.syntax(this.unexpected('a value'));
    this.at += token.length;
    return token;
  }

  private escapedString(start: number, firstEscape: number): string {
    let value = this.text.slice(start, firstEscape);
    let i = firstEscape;
    while (i < this.text.length) {
      const code = this.text.charCodeAt(i);
      if (code === QUOTE) {
        this.at = i + 1;
        return value;
      }
      if (code < 32) throw this.syntax(`control character in a string at ${i}`);
      if (code !== BACKSLASH) {
        value += this.text.charAt(i++);
        continue;
      }
      const kind = this.text[i + 1] ?? '';
      if (kind !== 'u') {
        const plain = ESCAPES[kind];
        if (plain === undefined) throw this.syntax(`invalid escape at ${i}`);
        value += plain;
        i += 2;
        continue;
      }
      const unit = this.hexUnit(i);
      i += 6;
      if (unit >= 0xd800 && unit < 0xe000) {
        const low = unit < 0xdc00 && this.text.startsWith('\\u', i) ? this.hexUnit(i) : 0;
        if (low < 0xdc00 || low > 0xdfff) throw this.syntax(`lone surrogate at ${i - 6}`);
        value += String.fromCharCode(unit, low);
        i += 6;
      } else value += String.fromCharCode(unit);
    }
    throw this.syntax('a string does not end');
  }

  private hexUnit(escape: number): number {
    const digits = this.text.slice(escape + 2, escape + 6);
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw this.syntax(`invalid \\u escape at ${escape}`);
    return Number.parseInt(digits, 16);
  }
}
