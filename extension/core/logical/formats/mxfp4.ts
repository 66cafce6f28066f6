import { stem, type Format } from './recogniser';

/** MXFP4 of gpt-oss: `X_blocks` U8 [.., groups, bytes], two codes a byte, `X_scales` U8 [.., groups], one exponent a group. */
export const mxfp4: Format = {
  endings: ['_blocks'],
  recognise(tensor, source) {
    const name = stem(tensor.name, '_blocks');
    const scales = name === undefined ? undefined : source.byName.get(`${name}_scales`);
    if (name === undefined || tensor.dtype !== 'U8' || scales?.dtype !== 'U8') return undefined;
    const groups = tensor.shape.at(-2);
    const bytes = tensor.shape.at(-1);
    if (groups === undefined || bytes === undefined || scales.shape.join() !== tensor.shape.slice(0, -1).join()) {
      return undefined;
    }
    return {
      name,
      shape: [...tensor.shape.slice(0, -2), groups * bytes * 2],
      dtype: `MXFP4 g${bytes * 2}`,
      format: 'mxfp4',
      parts: [tensor, scales],
    };
  },
};
