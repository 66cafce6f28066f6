import type { CompareReport } from '../../../extension/core/analysis/types';
import type { Handlers } from '../../../extension/protocol/channel';
import type {
  CompareRequests,
  PerplexityRequests,
  PerplexityRun,
  PerplexityView,
} from '../../../extension/protocol/panels';
import { compressedHeader, header, random, targets, tiny } from '../fixtures';
import { common, TODAY } from './common';
import { form } from './compress';

export function perplexityView(): PerplexityView {
  const base = {
    model: form.model,
    text: '/data/eval.txt',
    tokens: 190_000,
    windows: 371,
    context: 512,
    bos: false,
    seconds: 23,
    device: 'CPU',
    precision: 'fp32' as const,
    warnings: [],
  };
  const run = (bits: number, perplexity: number, weighting: string): PerplexityRun => ({
    ...base,
    model: `/models/tiny-books-4m-lq-${bits}`,
    id: `${weighting}-${bits}`,
    job: `${weighting}-${bits}`,
    label: `${bits} bits, ${weighting}`,
    perplexity,
    dense: false,
    bits,
    effectiveBits: bits + 0.42,
    bytes: 2.5e6 + bits * 0.36e6,
    date: TODAY + bits * 1e6,
    recipe: [
      { key: 'method', value: 'LQ' },
      { key: 'budget', value: `${bits} bits` },
      { key: 'rank', value: '8' },
      { key: 'weighting', value: weighting },
      { key: 'calibration', value: '/data/calib.txt, 64 × 512 tokens', path: '/data/calib.txt' },
      { key: 'factors', value: 'NF8' },
      { key: 'seed', value: '0' },
    ],
    weighting: weighting === 'Fisher' ? 'fisher' : 'plain',
    reference: {
      model: form.model,
      perplexity: 20.578,
      kl: { mean: 0.52 / bits, p99: 4.1 / bits },
      sameTop: 0.6 + bits / 20,
    },
    request: { ...form, budget: { kind: 'bits', value: bits } },
  });
  const points: [number, number, number][] = [
    [2.25, 44.1, 58.9],
    [2.5, 33.2, 41.0],
    [2.75, 26.9, 30.4],
    [3, 24.3, 25.6],
    [3.5, 22.0, 22.4],
    [4, 21.1, 21.3],
  ];
  return {
    header: header(tiny),
    canCompute: true,
    runs: [
      {
        ...base,
        id: 'dense',
        job: 'dense',
        label: 'tiny-books-4m',
        perplexity: 20.578,
        dense: true,
        bits: 16,
        effectiveBits: 16,
        bytes: 7.9e6,
        date: TODAY,
        recipe: [],
      },
      ...points.map(([bits, fisher]) => run(bits, fisher, 'Fisher')),
      ...points.map(([bits, , plain]) => run(bits, plain, 'plain')),
    ],
    models: [
      { path: form.model, label: 'tiny-books-4m (dense)' },
      { path: form.out, label: 'tiny-books-4m-lq-2.75' },
    ],
    text: '/data/eval.txt',
    context: 512,
  };
}

export function perplexityHost(view: PerplexityView): Handlers<PerplexityRequests> {
  return {
    ...common,
    load: () => view,
    evaluate: () => ({ job: 'new' }),
    forget: () => null,
  };
}

export function compareHost(chosen = true): Handlers<CompareRequests> {
  const view = chosen ? { a: header(tiny), b: compressedHeader(tiny), canCompute: true } : { canCompute: true };
  const structure: CompareReport = {
    a: '/models/a',
    b: '/models/b',
    onlyA: ['model.layers.0.self_attn.rotary_emb.inv_freq'],
    onlyB: [],
    reshaped: [{ name: 'lm_head.weight', a: '2048 × 256', b: '2050 × 256' }],
    tensors: targets(tiny).map(({ name, shape }) => ({ name, shape, formatA: 'BF16', formatB: 'LQ NF3 r8' })),
  };
  return {
    ...common,
    load: () => view,
    choose: () => ({ a: header(tiny), b: compressedHeader(tiny), canCompute: true }),
    structure: () => structure,
    values: () => ({ job: 'compare-1' }),
  };
}

/** What a comparison of values finds, as its job tells it. */
export const comparedTensors = (): CompareReport['tensors'] =>
  targets(tiny).map(({ name, shape }, index) => {
    const relativeError = index === 4 ? 0 : 0.04 + 0.12 * random(name)();
    return { name, shape, formatA: 'BF16', formatB: 'LQ NF3 r8', relativeError, maxAbsolute: relativeError * 0.4 };
  });
