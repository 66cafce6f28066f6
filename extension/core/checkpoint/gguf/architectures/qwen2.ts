import type { Architecture } from './architecture';

export const qwen2: Architecture = { models: ['qwen2'], name: 'qwen2', biases: ['attention'] };
