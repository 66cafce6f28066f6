/** Our own 16 x 16 line icons, in the weight of the editor's. Decorative: the control that holds one carries the label. */
const paths = {
  add: 'M8 3v10M3 8h10',
  chart: 'M2.5 2.5v11h11M5 11V8M8 11V5M11 11V7',
  check: 'M3 8.5l3.2 3.2L13 4.8',
  chevron: 'M4 6l4 4 4-4',
  close: 'M4 4l8 8M12 4l-8 8',
  copy: 'M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3',
  error: 'M8 2a6 6 0 100 12A6 6 0 008 2zM5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4',
  export: 'M8 2.5v8M4.8 7.5L8 10.7l3.2-3.2M2.5 13.5h11',
  file: 'M4 1.5h5l3 3v10H4zM9 1.5v3h3',
  info: 'M8 2a6 6 0 100 12A6 6 0 008 2zM8 7.2v4M8 4.6v.6',
  more: 'M3.5 8h.01M8 8h.01M12.5 8h.01',
  pin: 'M6 2h4M6.7 2v4.2L4.5 9h7L9.3 6.2V2M8 9v5',
  search: 'M7 2.5a4.5 4.5 0 100 9 4.5 4.5 0 000-9zM10.3 10.3l3.4 3.4',
  swap: 'M3 5.5h9.5M10 3l2.5 2.5L10 8M13 10.5H3.5M6 8l-2.5 2.5L6 13',
  table: 'M2.5 3.5h11v9h-11zM2.5 6.5h11M6.5 6.5v6',
  terminal: 'M2 3h12v10H2zM4.5 6l2 2-2 2M8 10.2h3',
  warning: 'M8 2.2l6.2 11.3H1.8zM8 6.5v3.4M8 11.4v.4',
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name, class: extra = '' }: { name: IconName; class?: string }) {
  return (
    <svg class={`icon ${extra}`} width="16" height="16" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path
        d={paths[name]}
        fill="none"
        stroke="currentColor"
        stroke-width={name === 'more' ? 2 : 1.2}
        stroke-linecap="round"
        stroke-linejoin="round"
      />
    </svg>
  );
}
