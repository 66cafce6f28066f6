import { describe, expect, it } from 'vitest';
import { check } from '../../../extension/protocol/guards';
import { contracts } from '../../../extension/protocol/panelGuards';

const { requests } = contracts.compress;
const request = { model: '/m', out: '/o', budget: { kind: 'bits', value: 2.75 } };

describe('panel guards', () => {
  it('accept a request with and without its optional members', () => {
    expect(check(requests.start.params, request, 'p')).toBeUndefined();
    expect(
      check(requests.start.params, { ...request, ranks: [16], overrides: [{ match: '*', minBits: 4 }] }, 'p'),
    ).toBeUndefined();
  });

  it.each([
    [{ ...request, budget: { kind: 'bytes', value: NaN } }, 'p.budget.value: expected a finite number'],
    [
      { ...request, budget: { kind: 'stones', value: 1 } },
      'p.budget.kind: expected one of bits, effective-bits, bytes',
    ],
    [{ ...request, out: undefined }, 'p.out: expected a string'],
    [{ ...request, ranks: [1.5] }, 'p.ranks[0]: expected an integer'],
    [{ ...request, include: 'q_proj' }, 'p.include: expected an array'],
    [[], 'p: expected an object'],
  ])('refuse %j', (value, problem) => {
    expect(check(requests.start.params, value, 'p')).toBe(problem);
  });

  it('take the null that NaN becomes on the wire for a computed value', () => {
    const values = { metric: 'error', original: [1, 'nan', null] };
    expect(check(contracts.heatmap.events.values, values, 'p')).toBeUndefined();
    expect(check(contracts.heatmap.events.values, { ...values, original: ['inf'] }, 'p')).toContain('original[0]');
    expect(check(contracts.heatmap.events.values, { metric: 'external:loss.json' }, 'p')).toBeUndefined();
  });

  it('tell command lines apart', () => {
    const { params } = requests.copyCommand;
    expect(check(params, { command: 'inspect', model: '/m' }, 'p')).toBeUndefined();
    expect(check(params, { command: 'stats', model: '/m', tensor: 1 }, 'p')).toBe('p.tensor: expected a string');
    expect(check(params, { command: 'compare', a: '/m', values: true }, 'p')).toBe('p.b: expected a string');
    expect(check(params, { command: 'toString' }, 'p')).toContain('p.command');
  });

  it('every panel can load, and shares the common requests', () => {
    for (const contract of Object.values(contracts)) {
      expect(Object.keys(contract.requests)).toEqual(
        expect.arrayContaining(['load', 'save', 'copy', 'copyCommand', 'navigate', 'openPath', 'pick']),
      );
      expect(Object.keys(contract.events)).toContain('engine');
    }
  });
});
