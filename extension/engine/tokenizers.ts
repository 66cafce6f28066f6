/**
 * Tokenizers by the Rust library that transformers uses, each in a process of its own. The library aborts the process it is in
 * where a definition breaks an assumption of its; what dies then is that process, and the engine goes on with an error to tell.
 * Who opens the same one again is answered by the same process: stages of a compression do, one after the other.
 */
import { createHash } from 'node:crypto';
import { fork, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { LqError } from '../core/errors';
import type { NativeTokenizer } from '../core/native';
import type { Answer, Question } from './tokenizer-process';

/** As scripts/build.mjs names the library and the process's bundle. */
const BINARY = 'tokenizers.node';
const PROCESS = 'tokenizer-process.js';
/** A process that has not been asked for this long is ended; the next question starts another. */
const IDLE_MS = 30_000;
/** Characters of its last words that are repeated. */
const LONGEST_REASON = 200;

/**
 * A tokenizer from the text of its tokenizer.json.
 * @param folder holds the library; the bundle of the process lies beside that folder
 * @throws LqError 'native-missing' when the library is absent or does not load here; an error with the library's own words when
 *   it cannot make use of the definition, also where it breaks off.
 */
export async function openTokenizer(folder: string, definition: string): Promise<NativeTokenizer> {
  const binary = path.join(folder, BINARY);
  if (!existsSync(binary))
    throw new LqError('native-missing', 'The tokenizer library is not in place; run "npm run build".', {
      file: binary,
    });
  const key = createHash('sha256').update(`${binary}\n${definition}`).digest('hex');
  const entry = path.join(folder, '..', PROCESS);
  const tokenizer: IsolatedTokenizer =
    running.get(key) ??
    new IsolatedTokenizer(entry, binary, definition, () => {
      if (running.get(key) === tokenizer) running.delete(key);
    });
  running.set(key, tokenizer);
  await tokenizer.ask({});
  return {
    encode: async (text, signal) => (await tokenizer.ask({ encode: text }, signal)) as number[],
    idOf: async token => (await tokenizer.ask({ idOf: token })) as number | undefined,
  };
}

/** Those whose process runs, by library and definition. */
const running = new Map<string, IsolatedTokenizer>();

interface Waiting {
  readonly question: Question;
  resolve(value: Answer['value']): void;
  reject(error: Error): void;
}

/** The process, started when it is asked something and not running. Answers come in the order of the questions. */
class IsolatedTokenizer {
  private child: ChildProcess | undefined;
  private waiting: Waiting[] = [];
  private idle: NodeJS.Timeout | undefined;
  private lastWords = '';

  constructor(
    private readonly entry: string,
    private readonly binary: string,
    private readonly definition: string,
    private readonly onEnd: () => void,
  ) {}

  /** A signal ends the process: an expression that backtracks without end leaves nothing else to do. Others are asked again. */
  ask(question: Question, signal?: AbortSignal): Promise<Answer['value']> {
    return new Promise((resolve, reject) => {
      const stop = (): void => this.end(this.child, 'it was stopped', waiting);
      signal?.addEventListener('abort', stop);
      const done = (): void => signal?.removeEventListener('abort', stop);
      const waiting: Waiting = {
        question,
        resolve: value => (done(), resolve(value)),
        reject: error => (done(), reject(error)),
      };
      this.put(waiting);
    });
  }

  private put(waiting: Waiting): void {
    clearTimeout(this.idle);
    const child = (this.child ??= this.start());
    this.waiting.push(waiting);
    child.ref();
    child.channel?.ref();
    child.send(waiting.question, error => {
      if (error !== null) this.end(child, error.message);
    });
  }

  private start(): ChildProcess {
    const child = fork(this.entry, [], {
      execArgv: [],
      // Numbers by the ten thousand, not as text.
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    this.lastWords = '';
    child.stderr?.on('data', (data: Buffer) => (this.lastWords = (this.lastWords + data.toString()).slice(-4096)));
    child.on('message', (answer: Answer) => this.answered(child, answer));
    child.on('error', error => this.end(child, error.message));
    // 'close' comes after the last words have been read.
    child.on('close', (code, signal) => this.end(child, brokeOff(this.lastWords, code, signal)));
    child.send({ binary: this.binary, definition: this.definition } satisfies Question);
    return child;
  }

  private answered(child: ChildProcess, { value, error, missing }: Answer): void {
    if (this.child !== child) return;
    const asked = this.waiting.shift();
    if (error === undefined) asked?.resolve(value);
    else
      asked?.reject(missing === true ? new LqError('native-missing', error, { file: this.binary }) : new Error(error));
    if (this.waiting.length > 0) return;
    // Nothing is expected of it: it keeps neither this process nor itself alive for long.
    child.unref();
    child.channel?.unref();
    this.idle = setTimeout(() => this.end(child, 'it was not used'), IDLE_MS).unref();
  }

  /** Ends the process, of which one question is the reason: that it was at, if no other is named. Others are put to a new one. */
  private end(child: ChildProcess | undefined, reason: string, culprit = this.waiting[0]): void {
    if (child === undefined || this.child !== child) return;
    clearTimeout(this.idle);
    this.child = undefined;
    child.kill('SIGKILL');
    this.onEnd();
    const others = this.waiting.filter(each => each !== culprit);
    this.waiting = [];
    culprit?.reject(new Error(reason));
    for (const each of others) this.put(each);
  }
}

/** What a process that ended by itself said: of a panic, the sentence and not where in the library's source it stands. */
function brokeOff(words: string, code: number | null, signal: NodeJS.Signals | null): string {
  const lines = words.split('\n').map(line => line.trim());
  const at = lines.findIndex(line => line.includes('panicked at'));
  const said = at < 0 ? undefined : lines.slice(at + 1).find(line => line !== '');
  const how = signal === null ? `exit code ${code}` : signal;
  return `the library broke off: ${said === undefined ? how : said.slice(0, LONGEST_REASON)}`;
}
