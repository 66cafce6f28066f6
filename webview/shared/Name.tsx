/**
 * Names come from strangers' files: they are set as text, cut to a length that cannot stall the layout, and kept whole in a
 * tooltip of bounded length.
 */
const SHOWN = 240;
const TITLE = 1000;

const cut = (text: string, length: number) => (text.length > length ? `${text.slice(0, length)}…` : text);

/** Control and direction-changing characters, which could make a name look like another, become visible. */
const visible = (text: string) => text.replace(/[\p{Cc}\p{Cf}]/gu, '\ufffd');

export function shortName(name: string): string {
  return visible(cut(name, SHOWN));
}

/** Longest end of a name that is kept whole. */
const TAIL = 48;

/** Of a long name without parts this much of its end stays. */
const END = 16;
/** Shorter names are not cut, and a head of fewer letters says nothing. */
const LONG = 28;
const HEAD = 4;

/**
 * Where the end that stays begins. What tells siblings apart is the layer's number and what follows, else the last part of a
 * path or of a dotted name.
 */
function tailAt(text: string): number | undefined {
  if (text.length < LONG) return undefined;
  const long = (index: number): boolean => index >= HEAD && text.length - index <= TAIL;
  const numbered = [...text.matchAll(/\.\d+\./g)].map(match => match.index + 1).find(long);
  if (numbered !== undefined) return numbered;
  const parted = [...text.matchAll(/[/\\.-]/g)]
    .map(match => match.index)
    .find(index => text.length - index <= TAIL / 2);
  if (parted !== undefined && parted >= HEAD) return parted;
  return text.length > 2 * END ? text.length - END : undefined;
}

/** The head gives way first, the tail stays: both ends of a name can be read in any width. */
function Halves({ text }: { text: string }) {
  const start = tailAt(text);
  if (start === undefined) return <>{text}</>;
  return (
    <>
      <span class="name-head">{text.slice(0, start)}</span>
      <span class="name-tail">
        <bdi dir="ltr">{text.slice(start)}</bdi>
      </span>
    </>
  );
}

export function Name({ name, onClick }: { name: string; onClick?: (() => void) | undefined }) {
  const title = visible(cut(name, TITLE));
  const text = <Halves text={shortName(name)} />;
  return onClick ? (
    // In one piece for those who hear it.
    <button type="button" class="name link" title={title} aria-label={title} onClick={onClick}>
      {text}
    </button>
  ) : (
    <span class="name" title={title}>
      {text}
    </span>
  );
}
