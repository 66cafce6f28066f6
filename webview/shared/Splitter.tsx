/** Two panes side by side with a divider that can be dragged or moved with the arrow keys; stacked when the panel is narrow. */
import type { ComponentChildren } from 'preact';
import { useRef } from 'preact/hooks';

export function Splitter(props: {
  label: string;
  /** Percent of the width that the second pane takes. */
  share: number;
  onShare: (share: number) => void;
  first: ComponentChildren;
  second: ComponentChildren;
}) {
  const root = useRef<HTMLDivElement>(null);
  const set = (share: number) => props.onShare(Math.min(75, Math.max(25, Math.round(share))));
  const drag = (event: PointerEvent) => {
    const handle = event.currentTarget as HTMLElement;
    if (!handle.hasPointerCapture(event.pointerId) || !root.current) return;
    const box = root.current.getBoundingClientRect();
    set((100 * (box.right - event.clientX)) / box.width);
  };
  return (
    <div class="splitter" ref={root} style={{ '--second': `${props.share}%` }}>
      <div class="splitter-first">{props.first}</div>
      <div
        class="splitter-handle"
        role="separator"
        tabIndex={0}
        aria-orientation="vertical"
        aria-label={props.label}
        aria-valuenow={props.share}
        aria-valuemin={25}
        aria-valuemax={75}
        onPointerDown={event => event.currentTarget.setPointerCapture(event.pointerId)}
        onPointerMove={drag}
        onKeyDown={event => {
          if (event.key === 'ArrowLeft') set(props.share + 2);
          if (event.key === 'ArrowRight') set(props.share - 2);
        }}
      />
      <div class="splitter-second">{props.second}</div>
    </div>
  );
}
