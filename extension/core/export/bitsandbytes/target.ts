/**
 * NF4 of bitsandbytes, quantised beforehand (bitsandbytes 0.50, nn/modules.py Params4bit.from_prequantized; transformers 5.24,
 * quantizers/quantizer_bnb_4bit.py): of each Linear P with weight [out, in]
 *   P.weight  U8 [out in / 2, 1]   codes in rows, two a byte, the first in the high half
 *   P.weight.absmax  F32 [out in / block]   w = level[code] absmax
 *   P.weight.quant_map  F32 [16]   the levels, which kernels do not read
 *   P.weight.quant_state.bitsandbytes__nf4  U8, JSON
 * Scales are of one level: its double quantisation of them is not ours.
 */
import { BITSANDBYTES_NF4 } from '../../options/books/bitsandbytes';
import { codedTarget, type CodedFormat } from '../safetensors/coded';
import { codesAndScales, GROUP_NEED, type GroupScheme } from '../safetensors/groups';

const TORCH: Readonly<Record<string, string>> = { BF16: 'bfloat16', F16: 'float16', F32: 'float32' };

/** As long for every type of the weights, so that a plan's sizes do not depend on it. @param torch what they are decoded to */
function stateOf({ size }: GroupScheme, torch: string, rows: number, cols: number): string {
  const state = (dtype: string): string =>
    JSON.stringify({ quant_type: 'nf4', blocksize: size, dtype, shape: [rows, cols] });
  return state(torch).padEnd(state('bfloat16').length);
}

const format: CodedFormat<GroupScheme> = {
  label: 'bitsandbytes NF4',
  format: 'bitsandbytes',
  metadata: { format: 'pt' },
  book: BITSANDBYTES_NF4,
  highFirst: true,
  load: [
    {
      language: 'python',
      lines: ['# transformers, with the package bitsandbytes', "AutoModelForCausalLM.from_pretrained('.')"],
    },
  ],
  need: GROUP_NEED,
  schemeOf({ grid, scales, transform, rank }, _, cols) {
    const isNf4 = grid.kind === 'nf' && grid.bits === 4 && scales.kind === 'searched' && scales.type === 'fp32';
    return isNf4 && transform === 'none' && rank === 0 && cols % scales.size === 0
      ? { bits: 4, size: scales.size }
      : undefined;
  },
  typeOf: ({ size }) => `NF4 g${size}`,
  tensorsOf(matrix, scheme, stored, rows, cols) {
    const state = stateOf(scheme, 'bfloat16', rows, cols);
    return codesAndScales(
      { name: matrix, dtype: 'U8', shape: [(rows * cols) / 2, 1] },
      { name: `${matrix}.absmax`, shape: [(rows * cols) / scheme.size] },
      stored,
      [
        { name: `${matrix}.quant_map`, dtype: 'F32', shape: [16] },
        { name: `${matrix}.quant_state.bitsandbytes__nf4`, dtype: 'U8', shape: [state.length] },
      ],
    );
  },
  constantsOf({ others: [map, state] }, rows, cols, scheme, dtype) {
    return new Map([
      [map!.name, new Uint8Array(BITSANDBYTES_NF4.levels.buffer)],
      [state!.name, new TextEncoder().encode(stateOf(scheme, TORCH[dtype] ?? 'float32', rows, cols))],
    ]);
  },
  config: (_, ignored) => ({
    quantization_config: {
      quant_method: 'bitsandbytes',
      load_in_4bit: true,
      load_in_8bit: false,
      bnb_4bit_quant_type: 'nf4',
      bnb_4bit_use_double_quant: false,
      bnb_4bit_compute_dtype: 'bfloat16',
      bnb_4bit_quant_storage: 'uint8',
      llm_int8_skip_modules: ignored,
    },
  }),
};

export const bitsandbytesTarget = codedTarget(format);
