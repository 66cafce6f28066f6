import type { Architecture } from './architecture';

export const olmoe: Architecture = {
  models: ['olmoe'],
  name: 'olmoe',
  // Its norms of keys are as wide as those of queries.
  computes: ({ heads, kvHeads }) => ({ qkNorm: true, ...(heads === kvHeads && { headNorm: 'together' }) }),
  experts: { computes: { score: 'softmax', renormalise: false }, width: 'feed_forward_length' },
};
