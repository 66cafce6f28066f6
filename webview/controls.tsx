/**
 * Every control of every panel: the toolkit's elements wrapped as components, and nothing else knows the toolkit. To replace it,
 * rewrite this file.
 */
import {
  provideVSCodeDesignSystem,
  vsCodeButton,
  vsCodeCheckbox,
  vsCodeDropdown,
  vsCodeOption,
  vsCodeProgressRing,
  vsCodeTextField,
} from '@vscode/webview-ui-toolkit';
import { createElement, type ComponentChildren, type RefObject } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { Icon, type IconName } from './shared/icons';

provideVSCodeDesignSystem().register(
  vsCodeButton(),
  vsCodeCheckbox(),
  vsCodeDropdown(),
  vsCodeOption(),
  vsCodeProgressRing(),
  vsCodeTextField(),
);

interface Common {
  disabled?: boolean | undefined;
  title?: string | undefined;
  class?: string | undefined;
}

export function Button(
  props: Common & {
    onClick: () => void;
    primary?: boolean;
    icon?: IconName;
    /** Needed when there is only an icon. */
    label?: string;
    children?: ComponentChildren;
  },
) {
  return createElement(
    'vscode-button',
    {
      appearance: props.children ? (props.primary ? 'primary' : 'secondary') : 'icon',
      disabled: props.disabled ?? false,
      title: props.title ?? props.label,
      class: props.class,
      'aria-label': props.label,
      onClick: props.disabled ? undefined : props.onClick,
    },
    props.icon && <Icon name={props.icon} class={props.children ? 'leading' : ''} />,
    props.children,
  );
}

export function Checkbox(
  props: Common & { checked: boolean; onChange: (checked: boolean) => void; children: ComponentChildren },
) {
  const ref = useRef<HTMLElement & { checked: boolean }>(null);
  useEffect(() => {
    if (ref.current) ref.current.checked = props.checked;
  }, [props.checked]);
  return createElement(
    'vscode-checkbox',
    {
      ref,
      class: props.class,
      title: props.title,
      disabled: props.disabled ?? false,
      // The element also reports changes made from outside, which must not echo.
      onChange: () => {
        const now = ref.current?.checked ?? false;
        if (now !== props.checked) props.onChange(now);
      },
    },
    props.children,
  );
}

export interface Choice<V extends string> {
  value: V;
  label: string;
  disabled?: boolean;
}

export function Select<V extends string>(
  props: Common & { label: string; value: V; choices: readonly Choice<V>[]; onChange: (value: V) => void },
) {
  const ref = useRef<HTMLElement & { value: string }>(null);
  useEffect(() => {
    if (ref.current && ref.current.value !== props.value) ref.current.value = props.value;
  });
  return createElement(
    'vscode-dropdown',
    {
      ref,
      class: props.class,
      title: props.title ?? props.label,
      'aria-label': props.label,
      disabled: props.disabled ?? false,
      onChange: () => {
        const choice = props.choices.find(({ value }) => value === ref.current?.value);
        if (choice && choice.value !== props.value) props.onChange(choice.value);
      },
    },
    props.choices.map(choice =>
      createElement(
        'vscode-option',
        {
          // An option reads its name out once: another label is another option.
          key: `${choice.value}\n${choice.label}`,
          value: choice.value,
          disabled: choice.disabled ?? false,
          selected: choice.value === props.value,
        },
        choice.label,
      ),
    ),
  );
}

/** The toolkit names its elements by their type once they are connected: the name given here has to be set after that. */
function useLabel(ref: RefObject<HTMLElement | null>, label: string | undefined): void {
  useEffect(() => {
    if (label !== undefined) ref.current?.setAttribute('aria-label', label);
  }, [label]);
}

export function TextField(
  props: Common & {
    /** Read out, not shown: a visible label stands in the form beside it. */
    label: string;
    value: string;
    onInput: (value: string) => void;
    onCommit?: () => void;
    placeholder?: string;
    icon?: IconName;
    invalid?: boolean;
    numeric?: boolean;
  },
) {
  const ref = useRef<HTMLElement & { value: string }>(null);
  /** What was typed and has not come back as the value yet: an echo that is late must not undo the keys after it. */
  const typed = useRef<string[]>([]);
  useEffect(() => {
    const echo = typed.current.lastIndexOf(props.value);
    typed.current = typed.current.slice(echo + 1);
    if (echo < 0 && ref.current && ref.current.value !== props.value) ref.current.value = props.value;
  }, [props.value]);
  useLabel(ref, props.label);
  return createElement(
    'vscode-text-field',
    {
      ref,
      class: [props.class, props.invalid && 'invalid', props.numeric && 'numeric'].filter(Boolean).join(' '),
      title: props.title,
      placeholder: props.placeholder ?? '',
      'aria-label': props.label,
      'aria-invalid': props.invalid ? 'true' : undefined,
      disabled: props.disabled ?? false,
      onInput: () => {
        const value = ref.current?.value ?? '';
        typed.current.push(value);
        props.onInput(value);
      },
      onKeyDown: (event: KeyboardEvent) => {
        if (event.key === 'Enter') props.onCommit?.();
      },
    },
    props.icon && (
      <span slot="start">
        <Icon name={props.icon} />
      </span>
    ),
  );
}

export function Spinner({ label }: { label: string }) {
  return createElement('vscode-progress-ring', { 'aria-label': label, class: 'spinner' });
}

/** A slider that moves in steps by keys: the toolkit has none. */
export function Slider(props: {
  label: string;
  min: number;
  max: number;
  /** What an arrow key moves; the pointer is rounded to it. */
  step: number;
  value: number;
  valueText: string;
  /** The ends are labelled under the track, everything between above it, so that they never meet. */
  marks: { value: number; label: string; title: string; at: 'start' | 'end' | 'between' }[];
  onInput: (value: number) => void;
}) {
  const set = (value: number) => {
    const rounded = Number((Math.round(value / props.step) * props.step).toPrecision(12));
    props.onInput(Math.min(props.max, Math.max(props.min, rounded)));
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const keys: Record<string, number> = {
      ArrowLeft: -1,
      ArrowDown: -1,
      ArrowRight: 1,
      ArrowUp: 1,
      PageDown: -10,
      PageUp: 10,
    };
    const steps = keys[event.key];
    if (steps === undefined) return;
    event.preventDefault();
    set(props.value + steps * props.step);
  };
  const share = (value: number) => `${(100 * (value - props.min)) / Math.max(props.max - props.min, 1e-12)}%`;
  return (
    <div class="slider">
      <input
        type="range"
        aria-label={props.label}
        aria-valuetext={props.valueText}
        min={props.min}
        max={props.max}
        // Steps would be counted from the minimum, which is no round number.
        step="any"
        value={props.value}
        onKeyDown={onKeyDown}
        onInput={event => set(event.currentTarget.valueAsNumber)}
      />
      <div class="slider-marks" aria-hidden="true">
        {props.marks.map(mark => (
          <span
            key={mark.label}
            class={`slider-mark ${mark.at}`}
            style={{ left: share(mark.value) }}
            title={mark.title}
          >
            {mark.label}
          </span>
        ))}
      </div>
    </div>
  );
}

export function Tabs<V extends string>(props: {
  label: string;
  value: V;
  tabs: readonly { value: V; label: string; count?: number | undefined }[];
  onChange: (value: V) => void;
}) {
  const list = useRef<HTMLDivElement>(null);
  const move = (event: KeyboardEvent) => {
    const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
    if (!step) return;
    event.preventDefault();
    const index = props.tabs.findIndex(tab => tab.value === props.value);
    const next = props.tabs[(index + step + props.tabs.length) % props.tabs.length];
    if (!next) return;
    props.onChange(next.value);
    list.current?.querySelector<HTMLElement>(`[data-tab="${CSS.escape(next.value)}"]`)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label={props.label} ref={list} onKeyDown={move}>
      {props.tabs.map(tab => (
        <button
          key={tab.value}
          role="tab"
          type="button"
          data-tab={tab.value}
          aria-selected={tab.value === props.value}
          tabIndex={tab.value === props.value ? 0 : -1}
          onClick={() => props.onChange(tab.value)}
        >
          {tab.label}
          {tab.count !== undefined && <span class="badge">{tab.count.toLocaleString('en-US')}</span>}
        </button>
      ))}
    </div>
  );
}

export interface MenuItem {
  label: string;
  icon?: IconName;
  disabled?: boolean;
  onSelect: () => void;
}

/** A button that opens a list of actions; arrow keys move, Escape closes. */
export function Menu(props: { label: string; icon?: IconName; text?: string; items: readonly MenuItem[] }) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const id = useId();

  useEffect(() => {
    if (!open) return;
    root.current?.querySelector<HTMLElement>('[role=menuitem]:not([disabled])')?.focus();
    const outside = (event: Event) => {
      if (!root.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener('pointerdown', outside);
    return () => document.removeEventListener('pointerdown', outside);
  }, [open]);

  const close = () => {
    setOpen(false);
    root.current?.querySelector<HTMLElement>('.menu-button')?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (!open) return;
    if (event.key === 'Escape') {
      event.stopPropagation();
      close();
    }
    if (event.key === 'Tab') setOpen(false);
    const step = event.key === 'ArrowDown' ? 1 : event.key === 'ArrowUp' ? -1 : 0;
    if (!step) return;
    event.preventDefault();
    const items = [...(root.current?.querySelectorAll<HTMLElement>('[role=menuitem]:not([disabled])') ?? [])];
    const index = items.indexOf(document.activeElement as HTMLElement);
    items[(index + step + items.length) % items.length]?.focus();
  };

  return (
    <div class="menu" ref={root} onKeyDown={onKeyDown}>
      <button
        type="button"
        class={`menu-button ${props.text ? 'with-text' : ''}`}
        aria-haspopup="menu"
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        aria-label={props.text ? undefined : props.label}
        title={props.label}
        onClick={() => setOpen(!open)}
      >
        {props.icon && <Icon name={props.icon} />}
        {props.text}
        {props.text && <Icon name="chevron" />}
      </button>
      {open && (
        <div role="menu" id={id} aria-label={props.label} class="menu-list">
          {props.items.map(item => (
            <button
              key={item.label}
              type="button"
              role="menuitem"
              tabIndex={-1}
              disabled={item.disabled}
              onClick={() => {
                close();
                item.onSelect();
              }}
            >
              {item.icon ? <Icon name={item.icon} /> : <span class="icon" />}
              {item.label}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

/** Radio buttons drawn as joined segments. */
export function Segments<V extends string>(props: {
  label: string;
  value: V;
  choices: readonly Choice<V>[];
  disabled?: boolean;
  onChange: (value: V) => void;
}) {
  const name = useId();
  return (
    <div class="segments" role="radiogroup" aria-label={props.label}>
      {props.choices.map(choice => (
        <label key={choice.value} class={choice.value === props.value ? 'on' : ''}>
          <input
            type="radio"
            name={name}
            value={choice.value}
            checked={choice.value === props.value}
            disabled={props.disabled || choice.disabled}
            onChange={() => props.onChange(choice.value)}
          />
          {choice.label}
        </label>
      ))}
    </div>
  );
}
