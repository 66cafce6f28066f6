/** The plan: a budget under the hand, what it costs and buys, and which matrix gets which bits. */
import { useEffect, useMemo, useState } from 'preact/hooks';
import { formatDate, formatDuration, weighing } from '../../extension/core/format';
import type { PlanOverride } from '../../extension/core/options/budget';
import type { AllocationView, PlanAnswer, PlanQuery, PlanSummary } from '../../extension/protocol/panels';
import { Button } from '../controls';
import { navigate, openPath } from '../shared/actions';
import { isNumber, isString, useSaved } from '../shared/host';
import { notifyError } from '../shared/notices';
import { Await, EngineBanner, Failure, Strip, useRequest } from '../shared/Panel';
import { Activity } from '../shared/jobs';
import { CurveFigure } from './CurveFigure';
import { LayersFigure } from './LayersFigure';
import { PerplexityFigure } from './PerplexityFigure';
import { PlanTable } from './PlanTable';
import { SweepFirst } from './SweepFirst';
import { WhatIfFigure } from './WhatIfFigure';
import { usePlan } from './usePlan';
import { amount, BudgetControl, type Kind } from './BudgetControl';
import { Readout } from './Readout';
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

const isKind = (value: unknown): value is Kind => value === 'bits' || value === 'effective-bits' || value === 'bytes';

const isRules = (value: unknown): value is PlanOverride[] =>
  Array.isArray(value) && value.every(one => isString((one as PlanOverride | null)?.match));

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
  const curve = useRequest(
    signal => host.request('curve', { factors, overrides }, { signal }),
    [factors, overrides, view.prediction],
  );
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
          {view.prediction && (
            <PerplexityFigure
              host={host}
              name={`${view.header.label}-perplexity`}
              prediction={view.prediction}
              points={points}
              answer={answer}
              onPick={point => props.onValue(amount(point, kind))}
            />
          )}
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
