import type { Architecture } from './architecture';
import { sigmoidExperts } from './glm4-moe';

/** dots.llm1: Qwen3's attention, with as many keys and values as queries. */
export const dots1: Architecture = {
  models: ['dots1'],
  name: 'dots1',
  computes: ({ heads, kvHeads }) => ({ qkNorm: heads === kvHeads }),
  experts: sigmoidExperts,
};
