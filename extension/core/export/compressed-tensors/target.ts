/**
 * pack-quantized of compressed-tensors, symmetric, for vLLM and transformers (vllm-project/compressed-tensors 0.20,
 * compressors/pack_quantized): of each Linear P with weight [out, in]
 *   P.weight_packed  I32 [out, in bits / 32]   rows are little-endian streams of fields, q + 2^(bits-1)
 *   P.weight_scale   [out, in / group]         w = q scale
 *   P.weight_shape   I64 [2]
 */
import { codedTarget, moduleOf, type Coded, type CodedFormat } from '../safetensors/coded';
import { codesAndScales, GROUP_NEED, groupLabel, wholeGroups, type GroupScheme } from '../safetensors/groups';

const format: CodedFormat<GroupScheme> = {
  label: 'compressed-tensors',
  format: 'compressed-tensors',
  metadata: { format: 'pt' },
  load: [
    { language: 'sh', lines: ['vllm serve .   # vLLM'] },
    {
      language: 'python',
      lines: ['# transformers, with the package compressed-tensors', "AutoModelForCausalLM.from_pretrained('.')"],
    },
  ],
  need: GROUP_NEED,
  schemeOf: wholeGroups,
  // One group a row looks like one scale a row.
  typeOf: (scheme, cols) => (scheme.size === cols ? `INT${scheme.bits}` : groupLabel(scheme)),
  tensorsOf(matrix, { bits }, stored, rows, cols) {
    const module = moduleOf(matrix);
    return codesAndScales(
      { name: `${module}.weight_packed`, dtype: 'I32', shape: [rows, (cols * bits) / 32] },
      { name: `${module}.weight_scale` },
      stored,
      [{ name: `${module}.weight_shape`, dtype: 'I64', shape: [2] }],
    );
  },
  constantsOf: ({ others: [shape] }, rows, cols) =>
    new Map([[shape!.name, new Uint8Array(BigInt64Array.of(BigInt(rows), BigInt(cols)).buffer)]]),
  /**
   * Matrices that vLLM joins into one and that therefore share bits and group (vllm/model_executor/models,
   * packed_modules_mapping): q, k and v; gate and up.
   */
  tieOf({ name, role }) {
    const module = name.replace(/\.[^.]+\.weight$/, '');
    if (role === 'q' || role === 'k' || role === 'v') return `${module} qkv`;
    return role === 'gate' || role === 'up' ? `${module} gate_up` : undefined;
  },
  config: (matrices, ignored) => ({ quantization_config: quantizationConfig(matrices, ignored) }),
};

export const compressedTensorsTarget = codedTarget(format);

/** A group of modules for each scheme, and the linear modules that have none. */
function quantizationConfig(
  matrices: ReadonlyMap<string, Coded<GroupScheme>>,
  ignore: readonly string[],
): Readonly<Record<string, unknown>> {
  const groups = new Map<string, { scheme: GroupScheme; targets: string[] }>();
  for (const [matrix, { scheme }] of matrices) {
    const key = `${scheme.bits} ${scheme.size}`;
    const group = groups.get(key) ?? { scheme, targets: [] };
    groups.set(key, group);
    group.targets.push(moduleOf(matrix));
  }
  return {
    quant_method: 'compressed-tensors',
    format: 'pack-quantized',
    quantization_status: 'compressed',
    ignore,
    config_groups: Object.fromEntries(
      [...groups.values()].map(({ scheme: { bits, size }, targets }, i) => [
        `group_${i}`,
        {
          targets,
          weights: {
            num_bits: bits,
            type: 'int',
            symmetric: true,
            strategy: 'group',
            group_size: size,
            dynamic: false,
          },
          input_activations: null,
          output_activations: null,
          format: 'pack-quantized',
        },
      ]),
    ),
  };
}
