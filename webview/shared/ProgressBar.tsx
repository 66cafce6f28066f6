/** How far work is; without a share it only says that work goes on. */
export function ProgressBar({ label, share }: { label: string; share?: number }) {
  const percent = share === undefined ? undefined : Math.min(100, Math.floor(100 * share));
  return (
    <div
      class={`progress ${percent === undefined ? 'unknown-total' : ''}`}
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={percent}
    >
      <span style={{ width: percent === undefined ? '30%' : `${percent}%` }} />
    </div>
  );
}
