import { elementCount } from '../../dtypes';
import { matrixShape, partsOf, quantizationConfig, stem, type Format } from './recogniser';

const EXL2_PARTS = ['q_weight', 'q_scale', 'q_scale_max', 'q_groups', 'q_group_map', 'q_perm', 'q_invperm'];

/**
 * EXL2: `q_weight` I32 [words, out], whose rows hold from 2 to 8 bits a weight by turns; `q_invperm` [in] has the inputs,
 * `q_group_map` two numbers for each. Format: https://github.com/turboderp-org/exllamav2.
 */
export const exl2: Format = {
  endings: ['q_weight'],
  recognise(tensor, source) {
    const base = stem(tensor.name, '.q_weight');
    const packed = matrixShape(tensor);
    if (base === undefined || !packed || tensor.dtype !== 'I32') return undefined;
    const permutation = source.byName.get(`${base}.q_invperm`) ?? source.byName.get(`${base}.q_perm`);
    const map = source.byName.get(`${base}.q_group_map`);
    const inputs = permutation ? elementCount(permutation.shape) : map ? elementCount(map.shape) / 2 : 0;
    if (!source.byName.has(`${base}.q_scale`) || !Number.isInteger(inputs) || inputs === 0) return undefined;
    return {
      name: `${base}.weight`,
      shape: [packed[1], inputs],
      dtype: `EXL2 ${((packed[0] * 32) / inputs).toFixed(2)}`,
      format: 'exl2',
      parts: partsOf(
        source,
        base,
        EXL2_PARTS.map(part => `.${part}`),
      ),
    };
  },
};

/**
 * EXL3: `trellis` I16 [in/16, out/16, 16·K], a code of K bits a weight; `suh` [in] and `svh` [out] scale, older files have
 * signs packed in `su` and `sv`. Format: https://github.com/turboderp-org/exllamav3/blob/master/doc/exl3.md.
 */
export const exl3: Format = {
  endings: ['trellis'],
  recognise(tensor, source) {
    const base = stem(tensor.name, '.trellis');
    const [inputs = 0, out = 0, words = 0] = tensor.shape;
    const bits = words / 16;
    if (
      base === undefined ||
      tensor.dtype !== 'I16' ||
      tensor.shape.length !== 3 ||
      !Number.isInteger(bits) ||
      bits < 1
    ) {
      return undefined;
    }
    const codebook = quantizationConfig(source).codebook;
    return {
      name: `${base}.weight`,
      shape: [out * 16, inputs * 16],
      dtype: `EXL3 K${bits}${typeof codebook === 'string' && codebook.length < 12 ? ` ${codebook}` : ''}`,
      format: 'exl3',
      parts: partsOf(source, base, ['.trellis', '.suh', '.svh', '.su', '.sv', '.mcg', '.mul1']),
    };
  },
};
