import type { Architecture } from './architecture';
import { granite } from './granite';

/** Granite with experts in every layer, weighed by the softmax of those that are chosen, and perhaps one that all tokens share. */
export const graniteMoe: Architecture = {
  ...granite,
  models: ['granitemoe', 'granitemoeshared'],
  name: 'granitemoe',
  biases: ['attention', 'output'],
  experts: {
    computes: { score: 'softmax_of_chosen' },
    width: 'feed_forward_length',
    shared: 'expert_shared_feed_forward_length',
  },
};
