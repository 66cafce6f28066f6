/** Output: results on stdout, everything else on stderr; a progress line on terminals, plain lines elsewhere. */
import { formatDuration } from '../core/format';
import { printable, shortened } from '../core/text';
import type { Progress } from '../core/progress';

const BAR_WIDTH = 24;
/** Longer names in tables lose their middle. */
const MOST_CELL = 120;
/** Where stderr is no terminal, a stage reports at most this often. */
const PLAIN_INTERVAL_MS = 2000;

export class Terminal {
  private readonly live = process.stderr.isTTY;
  private shown = '';
  private stage: string | undefined;
  private lastPlain = 0;
  private stageStart = 0;

  constructor(readonly json: boolean) {}

  /** A line of the result, for people. */
  print(line = ''): void {
    if (this.json) return;
    this.clear();
    process.stdout.write(`${printable(line)}\n`);
  }

  /** A line about the work. */
  note(line: string): void {
    this.clear();
    process.stderr.write(`${printable(line)}\n`);
  }

  readonly progress = (progress: Progress): void => {
    const now = Date.now();
    if (progress.stage !== this.stage) {
      this.stage = progress.stage;
      this.stageStart = now;
      this.lastPlain = now;
    }
    // Work that is over within a second needs no bar.
    if (now - this.stageStart < 1000) return;
    if (this.live) this.draw(line(progress, process.stderr.columns || 80));
    else if (now - this.lastPlain >= PLAIN_INTERVAL_MS) {
      this.lastPlain = now;
      process.stderr.write(`${line(progress, 120)}\n`);
    }
  };

  /** Removes the progress line. */
  clear(): void {
    if (this.shown === '') return;
    process.stderr.write('\r\x1b[2K');
    this.shown = '';
  }

  private draw(text: string): void {
    if (text === this.shown) return;
    this.shown = text;
    process.stderr.write(`\r\x1b[2K${text}`);
  }
}

function line(progress: Progress, columns: number): string {
  const share = progress.total > 0 ? Math.min(1, progress.done / progress.total) : 0;
  const filled = Math.round(share * BAR_WIDTH);
  const bar = '█'.repeat(filled) + '░'.repeat(BAR_WIDTH - filled);
  const left = progress.secondsLeft === undefined ? '' : ` ${formatDuration(progress.secondsLeft)} left`;
  const device = progress.device === undefined ? '' : ` [${progress.device}]`;
  const waiting = progress.waitingFor === undefined ? '' : ` waiting for ${progress.waitingFor}`;
  const head = `${progress.stage.padEnd(10)} ${bar} ${String(Math.floor(share * 100)).padStart(3)}%${left}${device}${waiting}`;
  const room = Math.max(8, columns - head.length - 2);
  return `${head} ${shortened(printable(progress.item ?? ''), room)}`.slice(0, columns - 1).trimEnd();
}

/** A table of text with aligned columns; columns listed in `left` are left-aligned, others right-aligned. */
export function table(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  left: readonly number[] = [0],
): string[] {
  const shown = rows.map(row => row.map(cell => shortened(printable(cell), MOST_CELL)));
  // A spread of a hundred thousand rows exhausts the stack.
  const widths = header.map((title, i) =>
    shown.reduce((most, row) => Math.max(most, (row[i] ?? '').length), title.length),
  );
  const format = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (left.includes(i) ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number)))
      .join('  ')
      .trimEnd();
  return [format(header), widths.map(width => '─'.repeat(width)).join('  '), ...shown.map(format)];
}
