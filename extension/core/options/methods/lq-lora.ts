import { gridOptions, paperGrid } from '../config';
import type { Method } from './method';

/** The paper's rank where a request has none. */
const PAPER_RANKS: readonly number[] = [16];

export const lqLora: Method = {
  label: 'LQ-LoRA',
  source: 'Guo et al., 2023, arXiv 2311.12023',
  description: 'NormalFloat with two-level scales and a low-rank part, 243 configurations, the LQ iteration.',
  metrics: ['fisher', 'plain'],
  secondPass: false,
  settings: ['ranks', 'grid'],
  options: ({ ranks = PAPER_RANKS, grid = paperGrid() }) => ranks.flatMap(rank => gridOptions(grid, rank)),
};
