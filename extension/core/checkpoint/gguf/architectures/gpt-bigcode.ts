import { gpt2 } from './gpt2';
import type { Architecture } from './architecture';

export const gptBigcode: Architecture = { ...gpt2, models: ['gpt_bigcode'], name: 'starcoder' };
