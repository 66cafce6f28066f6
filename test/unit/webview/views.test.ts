import { describe, expect, it } from 'vitest';
import type { CompressRequest } from '../../../extension/core/requests/requests';
import { toForm, toRequest } from '../../../webview/compress/form';
import { describeRank, makeScale, orderOf } from '../../../webview/heatmap/scale';

describe('heatmap scale', () => {
  it('is one for both sides, from the least to the most of either', () => {
    const scale = makeScale(
      [
        [1, 2, null],
        [4, 'nan'],
      ],
      'sequential',
      false,
    );
    expect([scale.low, scale.high]).toEqual([1, 4]);
    expect([1, 2.5, 4].map(value => scale.share(value))).toEqual([0, 0.5, 1]);
  });

  it('is logarithmic when asked and possible', () => {
    expect(makeScale([[1, 10, 100]], 'sequential', true).share(10)).toBeCloseTo(0.5);
    expect(makeScale([[0, 10, 100]], 'sequential', true).log).toBe(false);
  });

  it('diverges evenly around zero', () => {
    const scale = makeScale([[-1, 0.5]], 'diverging', true);
    expect([scale.low, scale.high, scale.share(0), scale.share(0.5)]).toEqual([-1, 1, 0, 0.5]);
  });

  it('has an answer for equal values and for none', () => {
    expect(makeScale([[3, 3]], 'sequential', false).share(3)).toBe(0.5);
    expect(makeScale([[null, 'nan'], undefined], 'sequential', true)).toMatchObject({ low: 0, high: 1 });
  });

  it('ranks from the largest, equals alike, unknown not at all', () => {
    const order = orderOf([2, 'nan', 5, 2, null, 1]);
    expect(order).toEqual({ ranks: [2, undefined, 1, 2, undefined, 4], known: 4 });
    expect(describeRank(order, 5)).toBe('4th highest of 4');
    expect(describeRank(order, 1)).toBeUndefined();
  });
});

describe('compress form', () => {
  const request: CompressRequest = {
    model: '/m',
    out: '/o',
    budget: { kind: 'bytes', value: 3_250_000_000 },
    method: 'lq-lora',
    ranks: [64],
    calibration: '/c.txt',
    samples: 128,
    factors: 'nf8',
    format: 'packed',
    device: 'auto',
    scales: 'sqrt-of-means',
    include: ['*.mlp.*'],
    overrides: [{ match: '*.v_proj.*', minBits: 4 }],
    cache: '/cache',
    grid: [{ b0: 3, b1: 2, b2: 'bf16', B0: 64, B1: 256 }],
    seed: 0,
  };

  it('gives back the request it was filled from', () => {
    expect(toRequest(toForm(request), request)).toEqual({ request, problems: {} });
  });

  it('names the fields that need attention instead of guessing', () => {
    const form = { ...toForm(request), budget: '', rank: '-1', calibration: '', samples: 'many', out: ' ' };
    const { request: none, problems } = toRequest(form, request);
    expect(none).toBeUndefined();
    expect(Object.keys(problems).sort()).toEqual(['budget', 'calibration', 'out', 'rank', 'samples']);
  });

  it('asks for at most one kind of weighting', () => {
    const plain = toRequest({ ...toForm(request), importance: 'plain' }, request).request;
    expect(plain).toMatchObject({ plain: true });
    expect(plain).not.toHaveProperty('calibration');
    expect(plain).not.toHaveProperty('samples');
  });
});
