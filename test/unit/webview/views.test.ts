import { describe, expect, it } from 'vitest';
import type { CompressRequest } from '../../../extension/core/requests/requests';
import { showBudget, sizeUnit, toForm, toRequest, writeSize } from '../../../webview/compress/form';
import type { CompressView } from '../../../extension/protocol/panels';
import { compressView } from '../../webview/hosts/compress';
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
    for: 'packed',
    device: 'auto',
    scales: 'sqrt-of-means',
    include: ['*.mlp.*'],
    overrides: [{ match: '*.v_proj.*', minBits: 4 }],
    cache: '/cache',
    grid: [{ b0: 3, b1: 2, b2: 'bf16', B0: 64, B1: 256 }],
    seed: 0,
  };

  const view: CompressView = { ...compressView(), form: request, paper: { ranks: [16], grid: request.grid! } };

  it('gives back the request it was filled from', () => {
    expect(toRequest(toForm(request, view), view)).toEqual({ request, problems: {} });
  });

  it('asks for what runs where the user said, with a method that makes it', () => {
    const form = { ...toForm(request, view), target: 'gguf' };
    const { request: gguf } = toRequest(form, view);
    expect(gguf).toMatchObject({ for: 'gguf', method: 'gguf' });
    // GGUF's types have no low-rank part, and none of the paper's settings.
    for (const field of ['ranks', 'factors', 'grid', 'scales']) expect(gguf).not.toHaveProperty(field);
  });

  it('says which methods need a text', () => {
    const form = { ...toForm(request, view), method: 'gptq', importance: 'plain' as const };
    expect(toRequest(form, view).problems).toEqual({ importance: 'GPTQ needs a text, or statistics of one' });
  });

  it('writes a size in one unit, whatever it is', () => {
    const unit = sizeUnit(7.9e6);
    expect([writeSize(7.9e6, unit), writeSize(912_345, unit), writeSize(1.25e9, unit)]).toEqual([
      '7.9 MB',
      '0.9123 MB',
      '1250 MB',
    ]);
    expect(showBudget({ kind: 'bytes', value: 3_250_000_000 }, sizeUnit(1e10))).toBe('3.25');
  });

  it('names the fields that need attention instead of guessing', () => {
    const form = { ...toForm(request, view), budget: '', rank: '-1', calibration: '', samples: 'many', out: ' ' };
    const { request: none, problems } = toRequest(form, view);
    expect(none).toBeUndefined();
    expect(Object.keys(problems).sort()).toEqual(['budget', 'calibration', 'out', 'rank', 'samples']);
  });

  it('asks for at most one kind of weighting', () => {
    const plain = toRequest({ ...toForm(request, view), importance: 'plain' }, view).request;
    expect(plain).toMatchObject({ plain: true });
    expect(plain).not.toHaveProperty('calibration');
    expect(plain).not.toHaveProperty('samples');
  });
});
