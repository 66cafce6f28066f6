/**
 * Affine quantisation of MLX (ml-explore/mlx, mlx/ops.cpp quantize; mlx-lm, utils.py load_model): of each Linear P [out, in]
 *   P.weight  U32 [out, in bits / 32]       rows are little-endian streams of fields c
 *   P.scales, P.biases  [out, in / group]   w = c scale + bias
 * Ours are symmetric: bias = -2^(bits-1) scale, which is exact.
 */
import { callNative, type PipelineContext } from '../../context';
import { joinPath } from '../../files/paths';
import { MLX_SYMMETRIC } from '../../logical/packed-integers';
import type { DenseSource } from '../../native';
import { codedTarget, moduleOf, type CodedFormat, type CodedTensors, type PlaceOf } from '../safetensors/coded';
import { codesAndScales, GROUP_NEED, groupLabel, wholeGroups, type GroupScheme } from '../safetensors/groups';

/** What its kernels have. */
const BITS: readonly number[] = [2, 3, 4, 5, 6, 8];
const GROUPS: readonly number[] = [32, 64, 128];

const format: CodedFormat<GroupScheme> = {
  label: 'MLX',
  format: 'mlx',
  metadata: { format: 'mlx', ...MLX_SYMMETRIC },
  load: [
    { language: 'sh', lines: ['mlx_lm.generate --model . --prompt "Once upon a time"'] },
    { language: 'python', lines: ["model, tokenizer = mlx_lm.load('.')"] },
  ],
  need: GROUP_NEED,
  typeOf: groupLabel,
  schemeOf(option, rows, cols) {
    const scheme = wholeGroups(option, rows, cols);
    return scheme && BITS.includes(scheme.bits) && GROUPS.includes(scheme.size) ? scheme : undefined;
  },
  tensorsOf(matrix, { bits }, stored, rows, cols) {
    const module = moduleOf(matrix);
    return codesAndScales(
      { name: matrix, dtype: 'U32', shape: [rows, (cols * bits) / 32] },
      { name: `${module}.scales` },
      stored,
      [{ ...stored('group_scales'), name: `${module}.biases` }],
    );
  },
  constantsOf: () => new Map(),
  complete: writeBiases,
  config(matrices) {
    const modules = [...matrices].map(
      ([
        matrix,
        {
          scheme: { bits, size },
        },
      ]) => [moduleOf(matrix), { group_size: size, bits }] as const,
    );
    const quantization = { group_size: 64, bits: 4, mode: 'affine', ...Object.fromEntries(modules) };
    return { quantization, quantization_config: quantization };
  },
};

export const mlxTarget = codedTarget(format);

/** Biases from scales: through fp32 and a weighted sum of one term, exact since the factor is a power of two. */
async function writeBiases(
  lane: PipelineContext,
  { bits }: GroupScheme,
  { parts: { group_scales: scales }, others: [biases] }: CodedTensors,
  placeOf: PlaceOf,
): Promise<void> {
  const { native, device, files } = lane;
  const [rows, cols] = scales!.shape as readonly [number, number];
  const dense = (path: string, offset: number, dtype: DenseSource['dtype']): DenseSource => ({
    kind: 'dense',
    ...{ path, offset, dtype, rows, cols },
  });
  const [from, to] = [placeOf(scales!), placeOf(biases!)];
  const bytes = 4 * rows * cols;
  const scratch = joinPath(lane.cache, `biases-${lane.digest(`${to.path} ${to.name}`)}`);
  await files.makeFolder(lane.cache);
  await files.allocate(scratch, 2 * bytes, new Uint8Array(0));
  try {
    await callNative(lane, { file: to.path, tensor: to.name }, async control => {
      await native.convert(device, dense(from.path, from.offset, from.dtype), dense(scratch, 0, 'F32'), control);
      const range = { path: scratch, offset: 0, bytes };
      await native.weightedSum(
        [{ range, weight: -(2 ** (bits - 1)) }],
        { path: scratch, offset: bytes, bytes },
        control,
      );
      await native.convert(device, dense(scratch, bytes, 'F32'), dense(to.path, to.offset, to.dtype), control);
    });
  } finally {
    await files.remove(scratch);
  }
}
