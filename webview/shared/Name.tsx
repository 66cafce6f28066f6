/**
 * Names come from strangers' files: they are set as text, cut to a length that cannot stall the layout, and kept whole in a
 * tooltip of bounded length.
 */
const SHOWN = 240;
const TITLE = 1000;

const cut = (text: string, length: number) => (text.length > length ? `${text.slice(0, length)}…` : text);

/** Control and direction-changing characters, which could make a name look like another, become visible. */
const visible = (text: string) =>
  text.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g, '\ufffd');

export function shortName(name: string): string {
  return visible(cut(name, SHOWN));
}

export function Name({ name, onClick }: { name: string; onClick?: (() => void) | undefined }) {
  const title = visible(cut(name, TITLE));
  return onClick ? (
    <button type="button" class="name link" title={title} onClick={onClick}>
      {shortName(name)}
    </button>
  ) : (
    <span class="name" title={title}>
      {shortName(name)}
    </span>
  );
}
