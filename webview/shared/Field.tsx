/** Labelled fields of every form. */
import type { ComponentChildren } from 'preact';
import { Button, Segments, Select, TextField } from '../controls';

/** A control with its label, and beside it a note or, instead, what is wrong. */
export function Field(props: {
  label: string;
  note?: string | undefined;
  problem?: string | undefined;
  class?: string;
  children: ComponentChildren;
}) {
  return (
    <div class={`field ${props.class ?? ''}`}>
      <span class="field-label">{props.label}</span>
      <div class="field-value">
        {props.children}
        {props.problem !== undefined ? (
          <span class="field-note bad" role="alert">
            {props.problem}
          </span>
        ) : (
          props.note && <span class="field-note">{props.note}</span>
        )}
      </div>
    </div>
  );
}

/** A text, a number, or with `onBrowse` a path that can also be chosen. */
export function TextInput(props: {
  label: string;
  /** Read out in place of the label, where that alone does not say what is meant. */
  name?: string;
  value: string;
  onInput: (value: string) => void;
  /** Enter was pressed. */
  onCommit?: () => void;
  onBrowse?: () => void;
  numeric?: boolean;
  placeholder?: string;
  note?: string;
  problem?: string | undefined;
  class?: string;
}) {
  return (
    <Field label={props.label} note={props.note} problem={props.problem} {...(props.class && { class: props.class })}>
      <TextField
        label={props.name ?? props.label}
        value={props.value}
        title={props.problem ?? (props.numeric ? undefined : props.value)}
        invalid={props.problem !== undefined}
        onInput={props.onInput}
        {...(props.numeric && { numeric: true })}
        {...(props.placeholder !== undefined && { placeholder: props.placeholder })}
        {...(props.onCommit && { onCommit: props.onCommit })}
      />
      {props.onBrowse && <Button onClick={props.onBrowse}>Browse…</Button>}
    </Field>
  );
}

type Labelled<P> = P & { note?: string; problem?: string; class?: string };

/** One of several, from a list. */
export function SelectInput<V extends string>({
  note,
  problem,
  class: extra,
  ...control
}: Labelled<Parameters<typeof Select<V>>[0]>) {
  return (
    <Field label={control.label} note={note} problem={problem} {...(extra && { class: extra })}>
      <Select {...control} />
    </Field>
  );
}

/** One of a few, all of which are seen. */
export function SegmentsInput<V extends string>({
  note,
  problem,
  class: extra,
  ...control
}: Labelled<Parameters<typeof Segments<V>>[0]>) {
  return (
    <Field label={control.label} note={note} problem={problem} {...(extra && { class: extra })}>
      <Segments {...control} />
    </Field>
  );
}
