import { perplexityPredictor } from '../../../extension/core/allocation/predict';
import type { Handlers } from '../../../extension/protocol/channel';
import type { AllocationRequests, AllocationView, PlanQuery, WhatIf } from '../../../extension/protocol/panels';
import { curve, header, makePlan, targets, tiny, type Architecture } from '../fixtures';
import { common, TODAY } from './common';
import { RECIPE } from './compress';

/** A view whose compressions were evaluated, so that plans predict. */
export function predictingView(a: Architecture): AllocationView {
  const plans = [2.4, 2.8, 3.2].map((value, index) => {
    const { plan } = makePlan(a, { budget: { kind: 'bits', value }, factors: 'nf8', overrides: [] });
    return {
      objective: plan.objective,
      bytes: plan.bytes,
      perplexity: [31.2, 24.3, 22.1][index]!,
      label: `${a.label}-${value}`,
    };
  });
  return { ...allocationView(a), prediction: { dense: 20.58, plans, text: '/data/eval.txt' } };
}

export function allocationView(a: Architecture): AllocationView {
  const { plan, relativeError } = makePlan(a, { budget: { kind: 'bits', value: 3 }, factors: 'nf8', overrides: [] });
  const { budget, bits, effectiveBits, bytes, objective } = plan;
  return {
    header: header(a, a === tiny ? 2 : 15),
    canCompute: true,
    text: {},
    sweep: {
      recipe: RECIPE,
      options: 243,
      method: 'LQ-LoRA',
      bits: { least: 2.03, most: 4.38 },
      rank: a === tiny ? 8 : 64,
      file: '/storage/sweeps/tiny.json',
      fisher: '/cache/fisher.safetensors',
      device: 'CPU, 8 cores',
      seconds: 61,
      date: TODAY,
      targets: targets(a).map(target => ({ ...target, norm: 100, weightedNorm: 1 })),
    },
    factors: 'nf8',
    budget: { kind: 'bits', value: 2.75 },
    overrides: [],
    currents: ['lq', 'lq-2'].map(suffix => ({
      ...{ budget, bits, effectiveBits, bytes, objective, relativeError },
      name: `${a.label}-${suffix}`,
    })),
    measured: [2.4, 2.8, 3.2].map((value, index) => {
      const at = makePlan(a, { budget: { kind: 'bits', value }, factors: 'nf8', overrides: [] }).plan;
      return {
        effectiveBits: at.effectiveBits,
        bytes: at.bytes,
        perplexity: [31.2, 24.3, 22.1][index]!,
        label: `${value} bits`,
        overrides: [],
      };
    }),
  };
}

/** The rank of the view, and one more that costs bytes and saves error. */
function whatIf(a: Architecture, query: Omit<PlanQuery, 'budget'>): WhatIf {
  const effectiveBits = [2.25, 2.5, 2.75, 3, 3.25, 3.5, 4];
  const plans = effectiveBits.map(value => {
    const { plan, relativeError } = makePlan(a, { ...query, budget: { kind: 'bits', value } });
    const { budget, bits: achieved, effectiveBits, bytes, objective } = plan;
    return { budget, bits: achieved, effectiveBits, bytes, objective, relativeError };
  });
  const { rank } = allocationView(a).sweep!;
  const more = plans.map(plan => ({
    ...plan,
    effectiveBits: plan.effectiveBits + 0.3,
    bytes: Math.round(plan.bytes * 1.03),
    relativeError: plan.relativeError * 0.93,
  }));
  return {
    effectiveBits,
    rows: [
      { label: `LQ-LoRA, rank ${rank}`, rank, file: '/storage/sweeps/tiny.json', plans },
      {
        label: `LQ-LoRA, rank ${2 * rank}`,
        rank: 2 * rank,
        file: '/storage/sweeps/more.json',
        plans: [null, ...more.slice(1)],
      },
    ],
  };
}

export function allocationHost(
  a: Architecture,
  view: AllocationView = allocationView(a),
): Handlers<AllocationRequests> {
  const predict = view.prediction && perplexityPredictor(view.prediction);
  const predicted = (plan: { objective: number }) => predict && { predicted: predict(plan.objective) };
  return {
    ...common,
    load: () => view,
    plan: ({ quick, ...query }) => {
      const answer = makePlan(a, query);
      const prices = answer.plan.matrices.map(({ name, cost, bytes }) => ({
        name,
        up: { label: 'NF4 b1=4 bf16 16x64 r8', bytes: 0.1 * bytes, cost: -0.5 * cost },
        down: { label: 'NF2 b1=2 bf16 64x256 r8', bytes: -0.2 * bytes, cost: 3 * cost },
      }));
      return {
        ...answer,
        plan: { ...answer.plan, optimal: !quick, ...predicted(answer.plan) },
        ...(!quick && { prices }),
      };
    },
    curve: query => ({ points: curve(a, query).map(point => ({ ...point, ...predicted(point) })) }),
    use: () => null,
    whatIf: query => whatIf(a, query),
    choose: ({ file, budget, overrides }) => ({
      ...view,
      budget,
      overrides,
      sweep: { ...view.sweep!, file, rank: 32 },
    }),
    sweep: () => ({ job: 'sweep-1' }),
  };
}
