/**
 * EXL3, for exllamav3 and TabbyAPI (turboderp-org/exllamav3 1.4, doc/exl3.md and modules/quant/exl3.py): of each Linear P with weight
 * [out, in], both multiples of 128,
 *   P.trellis  I16 [in / 16, out / 16, 16 K]   tail-biting codes of tiles (native/include/lq/encode.h)
 *   P.suh      F16 [in], P.svh  F16 [out]       scales and signs of the two sides
 * Nothing beside them names the code 3INST. exllamav3 needs no more; GPTQModel 7.7 reads `tensor_storage` of the configuration.
 */
import type { TensorSpec } from '../../checkpoint/serialize';
import { tensorBytes } from '../../checkpoint/serialize';
import { codedTarget, moduleOf, type Coded, type CodedFormat } from '../safetensors/coded';

interface Exl3Scheme {
  readonly bits: number;
}

const HEAD = 'lm_head.weight';
const TORCH: Readonly<Record<string, string>> = { I16: 'int16', F16: 'float16' };

const format: CodedFormat<Exl3Scheme> = {
  label: 'EXL3',
  format: 'exl3',
  metadata: { format: 'pt' },
  load: [
    {
      language: 'python',
      lines: [
        '# exllamav3, on a GPU',
        "config = Config.from_directory('.'); model = Model.from_config(config); cache = Cache(model, max_num_tokens=8192)",
        'model.load(); tokenizer = Tokenizer.from_config(config)',
      ],
    },
    {
      language: 'python',
      lines: ['# GPTQModel, on a CPU', "GPTQModel.load('.', device='cpu', backend=BACKEND.EXL3_TORCH)"],
    },
  ],
  layerOrder: true,
  head: true,
  need: 'sides that 128 divides',
  typeOf: ({ bits }) => `EXL3 K${bits} 3inst`,
  schemeOf({ grid }, rows, cols) {
    const fits = grid.kind === 'exl3' && grid.code === '3inst' && rows % 128 === 0 && cols % 128 === 0;
    return fits ? { bits: grid.bits } : undefined;
  },
  tensorsOf(matrix, { bits }, stored, rows, cols) {
    const module = moduleOf(matrix);
    return {
      parts: {
        codes: { name: `${module}.trellis`, dtype: 'I16', shape: [cols / 16, rows / 16, 16 * bits] },
        input_scales: { ...stored('input_scales'), name: `${module}.suh` },
        row_scales: { ...stored('row_scales'), name: `${module}.svh` },
      },
      others: [],
    };
  },
  constantsOf: () => new Map(),
  config(matrices) {
    const head = matrices.get(HEAD);
    const inner = [...matrices].filter(([name]) => name !== HEAD);
    const weights = (inner.length > 0 ? inner : [...matrices]).map(
      ([
        ,
        {
          scheme,
          tensors: { parts },
        },
      ]) => ({
        bits: scheme.bits,
        count: (8 * tensorBytes(parts.codes!)) / scheme.bits,
      }),
    );
    const mean =
      weights.reduce((sum, { bits, count }) => sum + bits * count, 0) /
      weights.reduce((sum, { count }) => sum + count, 0);
    return {
      quantization_config: {
        quant_method: 'exl3',
        bits: Number(mean.toFixed(4)),
        ...(head && { head_bits: head.scheme.bits }),
        codebook: '3inst',
        out_scales: 'always',
        tensor_storage: Object.fromEntries(
          [...matrices].map(([matrix, coded]) => [moduleOf(matrix), storageOf(coded)]),
        ),
      },
    };
  },
};

/** What is stored of a module, as exllamav3 lists it. */
const storageOf = ({ scheme, tensors: { parts } }: Coded<Exl3Scheme>): Readonly<Record<string, unknown>> => ({
  stored_tensors: Object.fromEntries(
    Object.values(parts).map((spec: TensorSpec) => [
      spec.name,
      {
        shape: spec.shape,
        n_bytes: tensorBytes(spec),
        dtype: `torch.${TORCH[spec.dtype]}`,
        torch_dtype: TORCH[spec.dtype],
      },
    ]),
  ),
  quant_format: 'exl3',
  bits_per_weight: scheme.bits,
});

export const exl3Target = codedTarget(format);
