/** The budget under the hand: its unit, the slider and the field, each saying the same amount. */
import { useState } from 'preact/hooks';
import { formatBits, formatBytes } from '../../extension/core/format';
import type { Budget } from '../../extension/core/options/budget';
import { Segments, Slider, TextField } from '../controls';
import { isString, useSaved } from '../shared/host';
import type { Current } from './host';

export type Kind = Budget['kind'];

/** A plan measured in a budget's own unit. */
export const amount = (plan: { bits: number; effectiveBits: number; bytes: number }, kind: Kind): number =>
  kind === 'bits' ? plan.bits : kind === 'effective-bits' ? plan.effectiveBits : plan.bytes;

const write = (value: number, kind: Kind): string => (kind === 'bytes' ? formatBytes(value) : formatBits(value));

export function BudgetControl(props: {
  kind: Kind;
  onKind: (kind: Kind) => void;
  range: { min: number; max: number };
  value: number;
  current: Current | undefined;
  onValue: (value: number) => void;
}) {
  const { kind, range, value } = props;
  const unit = kind === 'bytes' ? 1e6 : 1;
  const [text, setText] = useSaved('typed', '', isString);
  const [editing, setEditing] = useState(false);
  const shown = editing ? text : kind === 'bytes' ? String(Number((value / unit).toPrecision(5))) : value.toFixed(3);
  const typed = Number(text) * unit;
  const invalid = editing && !(typed >= range.min && typed <= range.max);
  const commit = () => {
    if (!invalid) props.onValue(typed);
    setEditing(false);
  };
  const marks = [
    {
      value: range.min,
      label: `min ${write(range.min, kind)}`,
      title: 'The least that can be met',
      at: 'start' as const,
    },
    ...(props.current
      ? [
          {
            value: amount(props.current, kind),
            label: `made ${write(amount(props.current, kind), kind)}`,
            title: `The plan of ${props.current.name}`,
            at: 'between' as const,
          },
        ]
      : []),
    { value: range.max, label: `max ${write(range.max, kind)}`, title: 'Every matrix at its best', at: 'end' as const },
  ];
  return (
    <div class="budget">
      <Segments
        label="What is held fixed"
        value={kind}
        onChange={props.onKind}
        choices={[
          { value: 'bits', label: 'Bits' },
          { value: 'effective-bits', label: 'Effective bits' },
          { value: 'bytes', label: 'Size' },
        ]}
      />
      <Slider
        label="Budget"
        min={range.min}
        max={range.max}
        step={kind === 'bytes' ? Math.max(1, Math.round((range.max - range.min) / 500)) : 0.01}
        value={value}
        valueText={`${write(value, kind)}${kind === 'bytes' ? '' : ' bits per weight'}`}
        marks={marks}
        onInput={next => {
          setEditing(false);
          props.onValue(next);
        }}
      />
      <div class="budget-typed">
        <TextField
          label={kind === 'bytes' ? 'Budget in megabytes' : 'Budget in bits per weight'}
          numeric
          value={shown}
          invalid={invalid}
          title={invalid ? `Between ${write(range.min, kind)} and ${write(range.max, kind)}` : 'Enter applies'}
          onInput={next => {
            if (next === shown) return;
            setEditing(true);
            setText(next);
          }}
          onCommit={commit}
        />
        <span class="muted">{kind === 'bytes' ? 'MB' : 'bits'}</span>
      </div>
    </div>
  );
}
