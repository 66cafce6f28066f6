import { elementCount } from '../../dtypes';
import { expectedShape } from './expected-shape';
import { partsOf, stem, type Format } from './recogniser';

const PARTS = ['._data', '._data._data', '._scale', '._shift', '._zeropoint'];
const OF_MODULE = ['.input_scale', '.output_scale'];

/**
 * quanto: `P.weight._data` I8 or an 8-bit float [out, in] with `_scale`; below 8 bits `P.weight._data._data` U8, two or four
 * codes a byte, grouped: then the shape is not stored; a bias tells one side, config.json both.
 * Format: https://github.com/huggingface/optimum-quanto.
 */
export const quanto: Format = {
  endings: ['_data'],
  recognise(tensor, source) {
    const packed = tensor.name.endsWith('._data._data');
    const name = stem(tensor.name, packed ? '._data._data' : '._data');
    const scale = name === undefined ? undefined : source.byName.get(`${name}._scale`);
    if (name === undefined || !scale) return undefined;
    const module = stem(name, '.weight');
    const parts = [
      ...partsOf(source, name, PARTS),
      ...(module === undefined ? [] : partsOf(source, module, OF_MODULE)),
    ];
    if (!packed) {
      if (tensor.dtype !== 'I8' && !tensor.dtype.startsWith('F8_')) return undefined;
      const label = tensor.dtype === 'I8' ? 'INT8' : tensor.dtype;
      return { name, shape: tensor.shape, dtype: label, format: 'quanto', parts };
    }
    // Groups are rows of the packed matrix, packed over each other: four bits unless there are twice as many scales.
    const groups = elementCount(scale.shape);
    const perByte = groups / (tensor.shape[0] ?? 1);
    if (tensor.dtype !== 'U8' || tensor.shape.length !== 2 || (perByte !== 2 && perByte !== 4)) return undefined;
    const count = elementCount(tensor.shape) * perByte;
    const out = module === undefined ? undefined : source.byName.get(`${module}.bias`)?.shape[0];
    return {
      name,
      shape:
        out !== undefined && out > 0 && count % out === 0
          ? [out, count / out]
          : (expectedShape(name, count, source) ?? [count]),
      dtype: `INT${8 / perByte} g${count / groups}`,
      format: 'quanto',
      parts,
    };
  },
};
