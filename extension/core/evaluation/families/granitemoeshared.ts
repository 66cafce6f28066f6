import type { ExpertFamily } from './experts';
import type { Family } from './family';
import { graniteMoe, graniteExperts } from './granitemoe';

const experts: ExpertFamily = {
  ...graniteExperts,
  read(config, layers) {
    const shared = config.number('shared_intermediate_size', 0);
    const { widths, ...rest } = graniteExperts.read(config, layers);
    return { ...rest, widths: widths.map(() => (shared === 0 ? 0 : config.count('shared_intermediate_size'))) };
  },
};

/** Granite 3 and 4 with experts and one that all tokens share, whose gate and up are one matrix. */
export const graniteMoeShared: Family = {
  ...graniteMoe,
  type: 'granitemoeshared',
  keys: [...graniteMoe.keys, 'shared_intermediate_size'],
  experts,
  modules: { gate_up: 'shared_mlp.input_linear', down: 'shared_mlp.output_linear' },
  parts: config => ({ ...graniteMoe.parts?.(config), fusedGateUp: 'stacked' }),
};
