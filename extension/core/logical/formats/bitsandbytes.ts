import { elementCount } from '../../dtypes';
import { jsonDescriptor } from '../../checkpoint/formats/descriptors';
import { asCount, asRecord, matrixShape, partsOf, stem, type Format } from './recogniser';

const STATE = /^(.+)\.quant_state\.bitsandbytes__(nf4|fp4)$/;
const PARTS_4BIT = ['', '.absmax', '.quant_map', '.nested_absmax', '.nested_quant_map'];

/** `P.weight` U8 holds two codes a byte; its quant_state, JSON in a tensor of its own, has the shape. */
export const bitsandbytes4: Format = {
  endings: ['bitsandbytes__nf4', 'bitsandbytes__fp4'],
  recognise(tensor, source) {
    const [, name, type] = STATE.exec(tensor.name) ?? [];
    const weight = name === undefined ? undefined : source.byName.get(name);
    if (name === undefined || type === undefined || !weight) return undefined;
    const description = asRecord(jsonDescriptor(source.descriptors.get(tensor.name))) ?? {};
    const blockSize = asCount(description.blocksize);
    const nested = source.byName.has(`${name}.nested_absmax`) ? ' nested' : '';
    return {
      name,
      shape: statedShape(description.shape, weight.bytes) ?? [weight.bytes * 2],
      dtype: `${type.toUpperCase()}${blockSize === undefined ? '' : ` g${blockSize}`}${nested}`,
      format: 'bitsandbytes',
      parts: [...partsOf(source, name, PARTS_4BIT), tensor],
    };
  },
};

/** The shape, when it is one and fits the bytes: two elements each, the last perhaps alone. */
function statedShape(shape: unknown, bytes: number): number[] | undefined {
  if (!Array.isArray(shape) || !shape.every(size => asCount(size) !== undefined)) return undefined;
  const sizes = shape as number[];
  return Math.ceil(elementCount(sizes) / 2) === bytes ? sizes : undefined;
}

/** `P.weight` I8 [out, in] with row scales `P.SCB` F32 [out]. */
export const bitsandbytes8: Format = {
  endings: ['SCB'],
  recognise(tensor, source) {
    const base = stem(tensor.name, '.SCB');
    const weight = base === undefined ? undefined : source.byName.get(`${base}.weight`);
    const shape = matrixShape(weight);
    if (base === undefined || weight?.dtype !== 'I8' || shape?.[0] !== tensor.shape[0]) return undefined;
    return {
      name: weight.name,
      shape: weight.shape,
      dtype: 'INT8',
      format: 'bitsandbytes',
      parts: partsOf(source, base, ['.weight', '.SCB', '.weight_format']),
    };
  },
};
