import { asRecord, partsOf, stackShape, stem, type Format } from './recogniser';
import { jsonDescriptor } from '../../checkpoint/formats/descriptors';

/**
 * torchao: a quantised tensor's pieces behind the name of its parameter, `M._weight_qdata`, `M._weight_scale`; the file's
 * metadata says of which class it was. Format: https://github.com/pytorch/ao.
 */
export const torchao: Format = {
  endings: ['_qdata'],
  recognise(tensor, source) {
    const owner = stem(tensor.name, '_qdata');
    const [, module = '', parameter] = /^(.*?)_?([A-Za-z]\w*)$/.exec(owner ?? '') ?? [];
    const data = stackShape(tensor);
    const scale = owner === undefined ? undefined : source.byName.get(`${owner}_scale`);
    if (owner === undefined || parameter === undefined || !data || !scale) return undefined;
    const name = module + parameter;
    const described = source.shards
      .map(({ metadata }) => metadata[name])
      .find(text => text !== undefined && text.length < 10_000);
    const kind = asRecord(
      described === undefined ? undefined : jsonDescriptor(new TextEncoder().encode(described)),
    )?._type;
    // Four-bit codes are two a byte; eight bits and floats keep the shape.
    const packed = tensor.dtype === 'U8' && kind !== 'Int8Tensor';
    const label = packed ? 'INT4' : tensor.dtype === 'I8' || tensor.dtype === 'U8' ? 'INT8' : tensor.dtype;
    return {
      name,
      shape: packed ? [...data.stack, data.rows, data.columns * 2] : tensor.shape,
      dtype: label,
      format: 'torchao',
      parts: [tensor, ...partsOf(source, owner, ['_scale', '_zero_point', '_scale_and_zero', '_act_pre_scale'])],
    };
  },
};
