import { matrixShape, partsOf, stem, type Recogniser } from './recogniser';

/** MXFP4: `X_blocks` U8 [.., groups, bytes] with two codes a byte, `X_scales` U8 [.., groups], one exponent a group. */
export const recogniseMxfp4: Recogniser = (tensor, source) => {
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
};

/** FP8 with `weight_scale_inv` [ceil(out/rows), ceil(in/columns)]: one scale a block, as DeepSeek writes it. */
export const recogniseFp8: Recogniser = (tensor, source) => {
  const base = stem(tensor.name, '.weight_scale_inv');
  const weight = base === undefined ? undefined : source.byName.get(`${base}.weight`);
  const shape = matrixShape(weight);
  if (base === undefined || !weight || !shape || !weight.dtype.startsWith('F8_')) return undefined;
  const scale = matrixShape(tensor);
  const block = scale ? ` ${blockSize(shape[0], scale[0])}×${blockSize(shape[1], scale[1])}` : '';
  return {
    name: weight.name,
    shape,
    dtype: weight.dtype + block,
    format: 'fp8',
    parts: partsOf(source, base, ['.weight', '.weight_scale_inv', '.input_scale']),
  };
};

/** Blocks are powers of two; the last one may be short, so the counts alone leave a range. */
function blockSize(size: number, blocks: number): number {
  return blocks <= 1 ? size : 2 ** Math.ceil(Math.log2(size / blocks));
}
