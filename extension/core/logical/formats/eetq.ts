import { matrixShape, partsOf, stem, type Format } from './recogniser';

/** EETQ: `weight` or `qweight` I8 [in, out], reordered for its kernels, with `weight_scales` [out]. Format: https://github.com/NetEase-FuXi/EETQ. */
export const eetq: Format = {
  endings: ['weight_scales'],
  recognise(tensor, source) {
    const base = stem(tensor.name, '.weight_scales');
    const weight = source.byName.get(`${base}.weight`) ?? source.byName.get(`${base}.qweight`);
    const shape = matrixShape(weight);
    if (base === undefined || weight?.dtype !== 'I8' || !shape || shape[1] !== tensor.shape.at(-1)) return undefined;
    return {
      name: `${base}.weight`,
      shape: [shape[1], shape[0]],
      dtype: 'INT8',
      format: 'eetq',
      parts: partsOf(source, base, ['.weight', '.qweight', '.weight_scales']),
    };
  },
};
