import { asCount, groupLabel, matrixShape, partsOf, quantizationConfig, stem, type Recogniser } from './recogniser';

const WORD = 32;

/**
 * GPTQ: qweight I32 [in·b/32, out]. AWQ: qweight I32 [in, out·b/32]. Both: scales [groups, out], qzeros I32
 * [groups, out·b/32], and for GPTQ g_idx [in]. The bits of each matrix follow from its own shapes, so models of mixed bits
 * are read right.
 */
export const recogniseGptqOrAwq: Recogniser = (tensor, source) => {
  const base = stem(tensor.name, '.qweight');
  const packed = matrixShape(tensor);
  const scaleShape = base === undefined ? undefined : matrixShape(source.byName.get(`${base}.scales`));
  if (base === undefined || !packed || !scaleShape || tensor.dtype !== 'I32') return undefined;
  const [groups, out] = scaleShape;
  const awq = packed[1] !== out;
  let bits: number | undefined;
  if (awq) bits = (packed[1] * WORD) / out;
  else {
    const zeros = matrixShape(source.byName.get(`${base}.qzeros`));
    const inputs = source.byName.get(`${base}.g_idx`)?.shape[0];
    if (zeros) bits = (zeros[1] * WORD) / out;
    else if (inputs !== undefined) bits = (packed[0] * WORD) / inputs;
    else bits = asCount(quantizationConfig(source).bits);
  }
  bits = asCount(bits);
  if (bits === undefined || bits > 8) return undefined;
  const inputs = awq ? packed[0] : (packed[0] * WORD) / bits;
  if (!Number.isInteger(inputs)) return undefined;
  return {
    name: `${base}.weight`,
    shape: [out, inputs],
    dtype: `INT${bits}${groupLabel(inputs, groups)}`,
    format: awq ? 'awq' : 'gptq',
    parts: partsOf(source, base, ['.qweight', '.qzeros', '.scales', '.g_idx']),
  };
};
