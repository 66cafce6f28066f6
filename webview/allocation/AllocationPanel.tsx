/** The plan: a budget under the hand, what it costs and buys, and which matrix gets which bits. */
import { useEffect, useMemo, useState } from 'preact/hooks';
import {
  formatBits,
  formatBytes,
  formatCertificate,
  formatCoverage,
  formatDate,
  formatDuration,
  formatNumber,
  formatPercent,
} from '../../extension/core/format';
import type { PlanOverride, Budget } from '../../extension/core/options/budget';
import type { AllocationView, PlanAnswer, PlanQuery, PlanSummary } from '../../extension/protocol/panels';
import { Button, Segments, Select, Slider, TextField } from '../controls';
import { navigate, openPath } from '../shared/actions';
import { isNumber, isString, useSaved } from '../shared/host';
import { notifyError } from '../shared/notices';
import { Await, EngineBanner, Fact, Failure, Strip, useRequest } from '../shared/Panel';
import { Activity } from '../shared/jobs';
import { CurveFigure } from './CurveFigure';
import { LayersFigure } from './LayersFigure';
import { PlanTable } from './PlanTable';
import { SweepFirst } from './SweepFirst';
import { WhatIfFigure } from './WhatIfFigure';
import { usePlan } from './usePlan';
import { host, type Sweep } from './host';

export function AllocationPanel() {
  const load = useRequest(() => host.request('load', null), []);
  useEffect(() => host.on('changed', load.replace), []);
  return (
    <Await of={load} what="Reading headers">
      {view =>
        view.sweep ? (
          <Loaded key={`${view.sweep.file} ${view.sweep.date}`} view={view} sweep={view.sweep} onView={load.replace} />
        ) : (
          <>
            <Strip host={host} header={view.header} />
            <EngineBanner host={host} />
            <Activity host={host} shownHere={job => job.method === 'sweep'} />
            <SweepFirst host={host} view={view} />
          </>
        )
      }
    </Await>
  );
}

type Kind = Budget['kind'];
type Current = AllocationView['currents'][number];
const isKind = (value: unknown): value is Kind => value === 'bits' || value === 'effective-bits' || value === 'bytes';

const isRules = (value: unknown): value is PlanOverride[] =>
  Array.isArray(value) && value.every(one => isString((one as PlanOverride | null)?.match));

/** A plan measured in a budget's own unit. */
export const amount = (plan: { bits: number; effectiveBits: number; bytes: number }, kind: Kind): number =>
  kind === 'bits' ? plan.bits : kind === 'effective-bits' ? plan.effectiveBits : plan.bytes;

const write = (value: number, kind: Kind): string => (kind === 'bytes' ? formatBytes(value) : formatBits(value));

function Loaded(props: { view: AllocationView; sweep: Sweep; onView: (view: AllocationView) => void }) {
  const { view, sweep } = props;
  const [factors] = useState(view.factors);
  // Kept with the panel: another table of costs, and a look at another tab, leave budget and rules as they are.
  const [kind, setKind] = useSaved<Kind>('kind', view.budget.kind, isKind);
  const [overrides, setOverrides] = useSaved<PlanOverride[]>('rules', view.overrides, isRules);
  const [value, setValue] = useSaved<number | null>(
    'value',
    kind === view.budget.kind ? view.budget.value : null,
    (kept): kept is number | null => kept === null || isNumber(kept),
  );
  const curve = useRequest(signal => host.request('curve', { factors, overrides }, { signal }), [factors, overrides]);
  const points = curve.result.state === 'ready' ? curve.result.value.points : [];

  return (
    <>
      {points.length > 0 ? (
        <Planned
          view={view}
          sweep={sweep}
          points={points}
          kind={kind}
          onKind={(next, plan) => {
            setKind(next);
            setValue(plan ? amount(plan.plan, next) : null);
          }}
          value={value}
          onValue={setValue}
          overrides={overrides}
          onOverrides={setOverrides}
          onView={props.onView}
        />
      ) : (
        <>
          <Strip host={host} header={view.header} />
          <EngineBanner host={host} />
          <Activity host={host} shownHere={job => job.method === 'sweep'} />
          <Await of={curve} what="Planning">
            {() => null}
          </Await>
        </>
      )}
    </>
  );
}

function Planned(props: {
  view: AllocationView;
  sweep: Sweep;
  points: readonly PlanSummary[];
  kind: Kind;
  onKind: (kind: Kind, plan: PlanAnswer | undefined) => void;
  value: number | null;
  onValue: (value: number) => void;
  overrides: PlanOverride[];
  onOverrides: (overrides: PlanOverride[]) => void;
  onView: (view: AllocationView) => void;
}) {
  const { view, sweep, points, kind, overrides } = props;
  const [chosen, setChosen] = useSaved('current', '', isString);
  /** The compression that the plan is held against. */
  const current = view.currents.find(({ name }) => name === chosen) ?? view.currents[0];
  const other = useRequest(
    signal => host.request('whatIf', { factors: view.factors, overrides }, { signal }),
    [overrides, sweep.file],
  );
  const choose = (file: string, plan: PlanSummary) => {
    if (file === sweep.file) props.onValue(amount(plan, kind));
    else
      host
        .request('choose', { file, budget: { kind, value: amount(plan, kind) }, overrides })
        .then(props.onView)
        .catch(notifyError);
  };
  const range = useMemo(() => ({ min: amount(points[0]!, kind), max: amount(points.at(-1)!, kind) }), [points, kind]);
  const wanted = props.value ?? (current ? amount(current, kind) : (range.min + range.max) / 2);
  const value = Math.min(range.max, Math.max(range.min, wanted));
  const query = useMemo<PlanQuery>(
    () => ({ budget: { kind, value }, factors: view.factors, overrides }),
    [kind, value, overrides, view.factors],
  );
  const { answer, settling, error } = usePlan(host, query);
  const model = view.header.path;
  const use = () => void host.request('use', query).catch(notifyError);

  return (
    <>
      <Strip
        host={host}
        header={view.header}
        command={{
          command: 'plan',
          request: { sweep: sweep.file, budget: query.budget, factors: query.factors, overrides },
        }}
        menu={[
          {
            label: 'Heatmap',
            icon: 'table',
            onSelect: () => navigate(host, { to: 'heatmap', model }),
          },
          {
            label: 'Perplexity',
            icon: 'chart',
            onSelect: () => navigate(host, { to: 'perplexity', model }),
          },
        ]}
        primary={
          <Button
            primary
            disabled={!view.canCompute || error !== undefined}
            title="Take this budget and these rules into the compress form"
            onClick={use}
          >
            Use This Plan
          </Button>
        }
      />
      <EngineBanner host={host} />
      <Activity host={host} shownHere={job => job.method === 'sweep'} />
      <div class="scroll allocation">
        <BudgetControl
          kind={kind}
          onKind={next => props.onKind(next, answer)}
          range={range}
          value={value}
          current={current}
          onValue={props.onValue}
        />
        {error && <Failure error={error} />}
        <Readout view={view} answer={answer} settling={settling} current={current} onCurrent={setChosen} />
        <div class="allocation-figures">
          <CurveFigure
            host={host}
            view={view}
            current={current}
            points={points}
            overrides={overrides}
            answer={answer}
            others={
              other.result.state === 'ready' ? other.result.value.rows.filter(({ file }) => file !== sweep.file) : []
            }
            onPick={point => props.onValue(amount(point, kind))}
          />
          <LayersFigure host={host} view={view} sweep={sweep} answer={answer} />
        </div>
        <Await of={other} what="Planning other ranks">
          {found => <WhatIfFigure host={host} view={view} sweep={sweep} whatIf={found} onPick={choose} />}
        </Await>
        <PlanTable
          host={host}
          view={view}
          sweep={sweep}
          answer={answer}
          overrides={overrides}
          onOverrides={props.onOverrides}
        />
        <p class="figure-note">
          Costs of {sweep.options} options of {sweep.method.slice(0, 60)} a matrix
          {sweep.rank > 0 && `, up to rank ${sweep.rank}`}, {weighing[sweep.recipe.metric.kind]}, measured in{' '}
          {formatDuration(sweep.seconds)} on {sweep.device.slice(0, 80)}
          {sweep.date !== undefined && (
            <>
              {', '}
              <button type="button" class="link" title={sweep.file} onClick={() => openPath(host, sweep.file)}>
                {formatDate(sweep.date)}
              </button>
            </>
          )}
          .
        </p>
      </div>
    </>
  );
}

function BudgetControl(props: {
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

function Readout(props: {
  view: AllocationView;
  answer: PlanAnswer | undefined;
  settling: boolean;
  current: Current | undefined;
  onCurrent: (name: string) => void;
}) {
  const { view, answer, settling, current } = props;
  const plan = answer?.plan;
  const error = answer?.relativeError;
  const change =
    current && error !== undefined && current.relativeError > 0 ? error / current.relativeError - 1 : undefined;
  return (
    <dl class="readout" aria-live="polite">
      <Fact label="Bits" value={formatBits(plan?.bits)} title="Codes and scales over target weights, as in the paper" />
      <Fact
        label="Effective bits"
        value={formatBits(plan?.effectiveBits)}
        title="Everything stored for the targets, low-rank factors too"
      />
      <Fact
        label="Size"
        value={
          <>
            {formatBytes(plan?.bytes)}
            <small class="muted">{plan && `${formatPercent(plan.bytes / view.header.bytes)} of the original`}</small>
          </>
        }
      />
      <Fact
        label="Predicted error"
        value={
          <>
            {formatPercent(error)}
            <small class="muted">
              {change === undefined
                ? ''
                : Math.abs(change) > 0.001
                  ? `${change > 0 ? '+' : ''}${formatPercent(change)} to what was made`
                  : 'as what was made'}
            </small>
          </>
        }
        title={`Relative error, ${weighing[view.sweep?.recipe.metric.kind ?? 'plain']}; objective ${formatNumber(plan?.objective)}`}
      />
      <Fact
        label="Solution"
        value={<span class="certificate">{plan && !settling ? formatCertificate(plan) : 'settling…'}</span>}
        title="The linear programme is the plan's relaxation: no plan can cost less than its bound, and the best one often costs a little more"
      />
      {view.currents.length > 0 && (
        <Fact
          label="Made"
          value={
            view.currents.length > 1 ? (
              <Select
                label="Compression to hold the plan against"
                value={current?.name ?? ''}
                choices={view.currents.map(({ name }) => ({ value: name, label: name.slice(0, 60) }))}
                onChange={props.onCurrent}
              />
            ) : (
              <span class="certificate">{current?.name.slice(0, 60)}</span>
            )
          }
          title="The compression whose plan is marked on the slider and on the curve"
        />
      )}
      {plan?.coverage !== undefined && (
        <Fact
          label="Covers"
          value={formatPercent(plan.coverage.weights / plan.coverage.blockWeights)}
          title={formatCoverage(plan.coverage)}
        />
      )}
    </dl>
  );
}

const weighing = { plain: 'unweighted', fisher: 'weighted by Fisher information', kfac: 'weighted by K-FAC' } as const;
