/** Additive and vector quantisation: AQLM and VPTQ. */
import { asCount, asRecord, partsOf, quantizationConfig, stem, type Format } from './recogniser';

/**
 * AQLM: `codes` [out/g0, in/g1, books], `codebooks` [books, entries, g0, g1], `scales` [out/g0, 1, 1, 1].
 * Format: https://github.com/Vahe1994/AQLM.
 */
export const aqlm: Format = {
  endings: ['codebooks'],
  recognise(tensor, source) {
    const base = stem(tensor.name, '.codebooks');
    const codes = base === undefined ? undefined : source.byName.get(`${base}.codes`);
    if (base === undefined || tensor.shape.length !== 4 || codes?.shape.length !== 3) return undefined;
    const [books = 0, entries = 0, rows = 0, columns = 0] = tensor.shape;
    const [outGroups = 0, inGroups = 0, perGroup = 0] = codes.shape;
    if (books !== perGroup) return undefined;
    return {
      name: `${base}.weight`,
      shape: [outGroups * rows, inGroups * columns],
      dtype: `AQLM ${books}x${Math.round(Math.log2(entries))} g${rows * columns}`,
      format: 'aqlm',
      parts: partsOf(source, base, ['.codes', '.codebooks', '.scales']),
    };
  },
};

const VPTQ_PARTS =
  'indices centroids.weight res_indices res_centroids.weight outlier_indices outlier_centroids.weight weight_scale weight_bias perm norm_weight';

/** VPTQ: `indices` and `centroids`; the shape is in config.json, a layer at a time. Format: https://github.com/microsoft/VPTQ. */
export const vptq: Format = {
  endings: ['indices'],
  recognise(tensor, source) {
    const base = stem(tensor.name, '.indices');
    if (base === undefined || !source.byName.has(`${base}.centroids.weight`)) return undefined;
    const layer = asRecord(asRecord(quantizationConfig(source).config_for_layers)?.[base]);
    const [out, inputs] = [asCount(layer?.out_features), asCount(layer?.in_features)];
    if (out === undefined || inputs === undefined) return undefined;
    const parts = partsOf(
      source,
      base,
      VPTQ_PARTS.split(' ').map(part => `.${part}`),
    );
    return { name: `${base}.weight`, shape: [out, inputs], dtype: 'VPTQ', format: 'vptq', parts };
  },
};

/** QuIP#: `Qidxs` of 8 weights each along the inputs, `SU` [in], `SV` [out]. Format: https://github.com/Cornell-RelaxML/quip-sharp. */
export const quip: Format = {
  endings: ['Qidxs'],
  recognise(tensor, source) {
    const base = stem(tensor.name, '.Qidxs');
    const [su, sv] = [source.byName.get(`${base}.SU`), source.byName.get(`${base}.SV`)];
    if (base === undefined || su?.shape.length !== 1 || sv?.shape.length !== 1) return undefined;
    const parts = partsOf(source, base, ['.Qidxs', '.SU', '.SV', '.Wscale', '.codebook_id', '.rcp', '.tp_rank']);
    return { name: `${base}.weight`, shape: [sv.shape[0]!, su.shape[0]!], dtype: 'QuIP', format: 'quip', parts };
  },
};
