/** Every matrix of the plan, and the rules that the solver has to respect. */
import { useMemo, useState } from 'preact/hooks';
import { formatBits, formatBytes, formatPercent, formatShape } from '../../extension/core/format';
import type { Price } from '../../extension/core/allocation/prices';
import type { PlanRow } from '../../extension/core/allocation/types';
import type { PlanOverride } from '../../extension/core/options/budget';
import type { AllocationView, PlanAnswer } from '../../extension/protocol/panels';
import { Button, Select, TextField, type Choice } from '../controls';
import { navigate } from '../shared/actions';
import type { Column } from '../shared/columns';
import { Icon } from '../shared/icons';
import { Name, shortName } from '../shared/Name';
import { Table } from '../shared/Table';
import type { AllocationHost, Sweep } from './host';

type Row = PlanRow & { role: string; layer: number; shape: number[]; costShare: number; price: Price | undefined };
type Limit = 'any' | '2' | '3' | '4';
const limits = (word: string): Choice<Limit>[] => [
  { value: 'any', label: `${word} any` },
  { value: '2', label: `${word} 2 bits` },
  { value: '3', label: `${word} 3 bits` },
  { value: '4', label: `${word} 4 bits` },
];

const describe = ({ minBits, maxBits }: PlanOverride): string =>
  [minBits !== undefined && `never below ${minBits} bits`, maxBits !== undefined && `never above ${maxBits} bits`]
    .filter(Boolean)
    .join(', ');

export function PlanTable(props: {
  host: AllocationHost;
  view: AllocationView;
  sweep: Sweep;
  answer: PlanAnswer | undefined;
  overrides: PlanOverride[];
  onOverrides: (overrides: PlanOverride[]) => void;
}) {
  const { view, answer, overrides, onOverrides } = props;
  const [selected, setSelected] = useState('');

  const all = useMemo<Row[]>(() => {
    const byName = new Map(props.sweep.targets.map(target => [target.name, target]));
    const total = answer?.plan.matrices.reduce((sum, row) => sum + row.cost, 0) ?? 0;
    const prices = new Map(answer?.prices?.map(price => [price.name, price]));
    return (answer?.plan.matrices ?? []).map(row => {
      const target = byName.get(row.name);
      return {
        ...row,
        price: prices.get(row.name),
        role: target?.role ?? 'other',
        layer: target?.layer ?? -1,
        shape: target?.shape ?? [],
        costShare: total > 0 ? row.cost / total : 0,
      };
    });
  }, [answer, props.sweep]);
  const total = answer?.plan.objective ?? 0;
  const unit = unitOf(view.header.bytes);
  const most = useMemo(() => all.reduce((high, row) => Math.max(high, row.costShare), 0) || 1, [all]);

  const columns = useMemo<Column<Row>[]>(() => {
    const pinned = (name: string) => overrides.find(rule => rule.match === name && rule.minBits !== undefined);
    const toggle = (row: Row) =>
      onOverrides(
        pinned(row.name)
          ? overrides.filter(rule => rule.match !== row.name)
          : [...overrides, { match: row.name, minBits: Math.max(4, row.rate) }],
      );
    return [
      {
        id: 'name',
        label: 'Matrix',
        width: 'minmax(220px, 1fr)',
        value: row => row.name,
        render: row => <Name name={row.name} />,
      },
      { id: 'role', label: 'Role', width: '56px', spare: 4, value: row => row.role },
      { id: 'layer', label: 'Layer', width: '48px', spare: 5, end: true, value: row => row.layer },
      { id: 'shape', label: 'Shape', width: '110px', end: true, hidden: true, value: row => formatShape(row.shape) },
      {
        id: 'bits',
        label: 'Bits',
        width: '48px',
        end: true,
        value: row => row.bits,
        render: row => formatBits(row.bits),
      },
      {
        id: 'effective',
        label: 'Effective',
        title: 'Effective bits: everything stored for the matrix over its weights',
        width: '64px',
        spare: 2,
        end: true,
        value: row => row.effectiveBits,
        render: row => formatBits(row.effectiveBits),
      },
      {
        id: 'option',
        label: 'Option',
        title: 'What the matrix is stored as',
        width: '190px',
        value: row => row.label,
      },
      { id: 'rank', label: 'Rank', width: '44px', spare: 3, end: true, value: row => row.option.rank },
      {
        id: 'bytes',
        label: 'Size',
        width: '66px',
        spare: 1,
        end: true,
        value: row => row.bytes,
        render: row => formatBytes(row.bytes),
      },
      {
        id: 'error',
        label: 'Share of error',
        width: '146px',
        end: true,
        value: row => row.costShare,
        render: row => (
          <span class="bar-cell">
            <span class="bar">
              <span style={{ width: `${(100 * row.costShare) / most}%` }} />
            </span>
            {formatPercent(row.costShare)}
          </span>
        ),
      },
      {
        id: 'gain',
        label: `One more ${unit.name}`,
        title: `Share of the whole error that goes when this matrix gets more, by the ${unit.name}: what its bytes are worth`,
        width: '88px',
        spare: 6,
        end: true,
        value: row => gainOf(row.price, total, unit),
        render: row => {
          const gain = gainOf(row.price, total, unit);
          return gain === null ? '–' : `−${formatPercent(gain)}`;
        },
      },
      {
        id: 'pin',
        label: 'Rule',
        title: 'Pin: never below 4 bits here',
        width: '52px',
        value: row => (pinned(row.name) ? describe(pinned(row.name)!) : ''),
        render: row => {
          const rule = pinned(row.name);
          return (
            <button
              type="button"
              class={`pin ${rule ? 'on' : ''}`}
              // One tab stop, on the selected row; the others are reached by selecting theirs.
              tabIndex={row.name === selected ? 0 : -1}
              aria-pressed={rule !== undefined}
              aria-label={`Never below 4 bits: ${shortName(row.name)}`}
              title={rule ? `${describe(rule)}. Click to lift.` : 'Never below 4 bits here'}
              onClick={event => {
                event.stopPropagation();
                toggle(row);
              }}
            >
              <Icon name="pin" />
              {rule && `≥ ${rule.minBits}`}
            </button>
          );
        },
      },
    ];
  }, [overrides, most, selected, total]);

  return (
    <>
      <Rules overrides={overrides} onOverrides={onOverrides} suggestion={selected} />
      <Table
        host={props.host}
        what="matrices"
        label="Plan"
        title="Plan by matrix"
        file={`${view.header.label}-plan`}
        columns={columns}
        rows={all}
        rowKey={row => row.name}
        tensorOf={row => row.name}
        text={row => `${row.name} ${row.role}`}
        selected={selected}
        onSelect={row => setSelected(row.name)}
        onOpen={row => navigate(props.host, { to: 'checkpoint', model: view.header.path, tensor: row.name })}
        fitRows={16}
        empty="No matrix is planned yet."
      />
      <Why row={all.find(({ name }) => name === selected)} total={total} unit={unit} />
    </>
  );
}

interface Unit {
  name: 'kB' | 'MB';
  bytes: number;
}
/** What sizes of matrices are counted in: of a small checkpoint a MB is a great part. */
const unitOf = (bytes: number): Unit => (bytes < 100e6 ? { name: 'kB', bytes: 1e3 } : { name: 'MB', bytes: 1e6 });

/** Share of the whole cost that one more unit takes away here. */
const gainOf = (price: Price | undefined, total: number, unit: Unit): number | null =>
  price?.up && total > 0 ? (-price.up.cost / total) * (unit.bytes / price.up.bytes) : null;

/** Why the selected matrix got what it got: what a step either way would do to size and error. */
function Why({ row, total, unit }: { row: Row | undefined; total: number; unit: Unit }) {
  if (!row) return <p class="figure-note why">Select a matrix to see why it got its bits.</p>;
  const { up, down } = row.price ?? {};
  const say = (share: number) => formatPercent(Math.abs(share) / (total || 1));
  return (
    <p class="figure-note why" role="status">
      <Name name={row.name} /> is stored as {row.label}: {formatBytes(row.bytes)}, {formatPercent(row.costShare)} of the
      error.{' '}
      {up
        ? `${up.label} would take ${formatBytes(up.bytes)} more and ${say(up.cost)} of the error away: one more ${unit.name} here gains ${formatPercent(gainOf(row.price, total, unit))}. `
        : 'No option is better. '}
      {down
        ? `${down.label} would save ${formatBytes(-down.bytes)} and add ${say(down.cost)}; more than those bytes bring elsewhere.`
        : 'No option is smaller.'}
    </p>
  );
}

/** Rules by pattern: "never below 4 bits here". */
function Rules(props: {
  overrides: PlanOverride[];
  onOverrides: (overrides: PlanOverride[]) => void;
  suggestion: string;
}) {
  const { overrides, onOverrides } = props;
  const [pattern, setPattern] = useState('');
  const [least, setLeast] = useState<Limit>('4');
  const [most, setMost] = useState<Limit>('any');
  const match = pattern.trim() || props.suggestion;
  const contradiction = least !== 'any' && most !== 'any' && Number(least) > Number(most);
  const usable = match !== '' && (least !== 'any' || most !== 'any') && !contradiction;
  const add = () => {
    if (!usable) return;
    const rule: PlanOverride = {
      match,
      ...(least !== 'any' && { minBits: Number(least) }),
      ...(most !== 'any' && { maxBits: Number(most) }),
    };
    onOverrides([...overrides.filter(old => old.match !== match), rule]);
    setPattern('');
  };
  return (
    <div class="rules">
      <h3>Rules</h3>
      <TextField
        class="rule-pattern"
        label="Matrices the rule is for"
        placeholder={props.suggestion ? shortName(props.suggestion) : '*.v_proj.weight, or select a row'}
        value={pattern}
        onInput={setPattern}
        onCommit={add}
      />
      <Select label="At least" value={least} choices={limits('at least')} onChange={setLeast} />
      <Select label="At most" value={most} choices={limits('at most')} onChange={setMost} />
      <Button
        disabled={!usable}
        title={contradiction ? 'At least is more than at most' : 'The plan is solved again'}
        onClick={add}
      >
        Add Rule
      </Button>
      <ul class="rule-list" aria-label="Rules in force">
        {overrides.map(rule => (
          <li key={rule.match}>
            <Name name={rule.match} />
            <span>{describe(rule)}</span>
            <button
              type="button"
              class="icon-button"
              aria-label={`Remove the rule for ${shortName(rule.match)}`}
              title="Remove the rule"
              onClick={() => onOverrides(overrides.filter(other => other !== rule))}
            >
              <Icon name="close" />
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
