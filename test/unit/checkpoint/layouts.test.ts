/** A packed weight is the logical weight of 128 x 256 that it stands for, and its bits are those of all its parts. */
import { describe, expect, it } from 'vitest';
import { elementCount } from '../../../extension/core/dtypes';
import { unreadable } from '../../../extension/core/analysis/weights';
import { weightLookup } from '../../../extension/core/logical/lookup';
import { logicalTensors } from '../../../extension/core/logical/logical';
import { unknownLayouts } from '../../../extension/core/logical/unknown';
import type { CheckpointIndex } from '../../../extension/core/checkpoint/types';
import { formatSource } from './families';
import { cases, IN, OUT, P, specs, whole, type Part } from './layout-cases';

describe('a packed weight of 128 x 256', () => {
  it.each(cases)('$tool', ({ parts, more = {}, dtype, base = P, name = `${base}.weight`, shape = [OUT, IN] }) => {
    const stored = specs(base, parts);
    const weight = whole(stored, more);
    const bytes = formatSource(stored).tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
    expect(weight).toMatchObject({ name, shape, dtype, parameters: elementCount(shape), bytes });
    expect(weight.bitsPerWeight).toBeCloseTo((8 * bytes) / elementCount(shape), 12);
    expect(weight.format).not.toBe('dense');
    // Codes are never taken for values: who asks for a weight that is not decoded is told what it is.
    const lookup = weightLookup(formatSource(stored, more) as CheckpointIndex);
    const described = `packed as ${dtype} (${weight.format}), which is not decoded`;
    const why = unreadable(weight);
    if (why === undefined) expect(lookup(name)).not.toMatchObject({ kind: 'dense' });
    else {
      expect(why).toContain(described);
      expect(() => lookup(name)).toThrow(
        expect.objectContaining({
          code: 'unsupported-dtype',
          message: expect.stringContaining(described) as string,
        }) as Error,
      );
    }
  });

  it('counts the weights where their shape is not stored', () => {
    const hqq: Part[] = [
      ['.W_q', 'U8', 256, 64],
      ['.scale', 'F16', 512, 1],
      ['.zero', 'F16', 512, 1],
      ['.shape', 'I64', 2],
    ];
    // A shape that cannot be: the count follows from the scales.
    const descriptors = new Map([[`${P}.shape`, new Uint8Array(16).fill(1)]]);
    expect(whole(specs(P, hqq), { descriptors })).toMatchObject({
      shape: [OUT * IN],
      dtype: 'INT4',
      parameters: OUT * IN,
    });
    const quanto: Part[] = [
      ['.weight._data._data', 'U8', 128, 128],
      ['.weight._scale', 'BF16', 256, 1],
      ['.weight._shift', 'BF16', 256, 1],
    ];
    expect(whole(specs(P, quanto))).toMatchObject({ shape: [OUT * IN], dtype: 'INT4 g128' });
    // The configuration knows what such a weight measures, and is asked only where the number of weights agrees.
    const config = { hidden_size: IN, num_attention_heads: 4, head_dim: 32, num_key_value_heads: 2 };
    expect(whole(specs(P, quanto), { config }).shape).toEqual([OUT, IN]);
    expect(whole(specs(P, hqq), { descriptors, config: { text_config: config } }).shape).toEqual([OUT, IN]);
    expect(whole(specs(P, quanto), { config: { ...config, head_dim: 16 } }).shape).toEqual([OUT * IN]);
    const withBias = logicalTensors(formatSource(specs(P, [...quanto, ['.bias', 'BF16', OUT]])));
    expect(withBias.find(({ format }) => format === 'quanto')!.shape).toEqual([OUT, IN]);
  });

  it('of an unknown layout is said to be counted as stored', () => {
    const odd = specs(P, [
      ['.packed_w', 'U8', OUT, IN / 2],
      ['.w_scales', 'F16', OUT, 4],
    ]);
    const source = formatSource(odd);
    const [warning, ...more] = unknownLayouts(source, logicalTensors(source));
    expect(more).toEqual([]);
    expect(warning).toMatchObject({ severity: 'warning', code: 'unknown-layout', tensor: `${P}.packed_w` });
    // Buffers of integers are no weights.
    const buffers = formatSource([
      { name: 'h.0.attn.bias', dtype: 'U8', shape: [1, 1, 64, 64] },
      { name: 'h.0.attn.scale', dtype: 'F32', shape: [1] },
      { name: 'embeddings.position_ids', dtype: 'I64', shape: [1, 512] },
    ]);
    expect(unknownLayouts(buffers, logicalTensors(buffers))).toEqual([]);
  });
});
