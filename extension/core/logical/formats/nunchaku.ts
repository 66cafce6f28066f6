import { matrixShape, partsOf, stem, type Format } from './recogniser';

/**
 * SVDQuant as nunchaku stores it: `qweight` I8 [out, in/2] with `wscales` [in/group, out], beside low-rank factors
 * `proj_down` [in, r] and `proj_up` [out, r] (older files: `lora_down`, `lora_up`) and smoothing vectors.
 * Format: https://github.com/nunchaku-tech/nunchaku.
 */
export const nunchaku: Format = {
  endings: ['wscales'],
  recognise(tensor, source) {
    const base = stem(tensor.name, '.wscales');
    const packed = matrixShape(base === undefined ? undefined : source.byName.get(`${base}.qweight`));
    const scales = matrixShape(tensor);
    if (base === undefined || !packed || !scales || scales[1] !== packed[0]) return undefined;
    const down = source.byName.get(`${base}.proj_down`) ?? source.byName.get(`${base}.lora_down`);
    const rank = matrixShape(down)?.[1];
    const type = tensor.dtype === 'F8_E4M3' ? 'NVFP4' : 'INT4';
    return {
      name: `${base}.weight`,
      shape: [packed[0], packed[1] * 2],
      dtype: `${type} g${Math.ceil((packed[1] * 2) / scales[0])}${rank === undefined ? '' : ` r${rank}`}`,
      format: 'nunchaku',
      parts: partsOf(
        source,
        base,
        'qweight wscales wtscale wcscales proj_down proj_up lora_down lora_up smooth_factor smooth_factor_orig smooth smooth_orig'
          .split(' ')
          .map(part => `.${part}`),
      ),
    };
  },
};
