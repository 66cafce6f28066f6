/**
 * What a panel (webview) and the host say to each other. Read end to end, this is everything a panel can show or ask for.
 *
 * Transport: `channel.ts` over postMessage. A panel sends requests; the host answers each exactly once, may report progress
 * on the way, and pushes events. The host checks every request by the schemas of `panelRequests.ts`.
 * Messages are JSON: a number that is not finite travels as null and reads as "not known". Weights never travel, only
 * down-sampled pictures and statistics. The first request of every panel is `load`.
 */
import type { CheckpointRequests, CheckpointEvents } from './panels/checkpoint';
import type { CompressRequests, CompressEvents } from './panels/compress';
import type { HeatmapRequests, HeatmapEvents } from './panels/heatmap';
import type { AllocationRequests, AllocationEvents } from './panels/allocation';
import type { PerplexityRequests, PerplexityEvents } from './panels/perplexity';
import type { MethodsRequests, MethodsEvents } from './panels/methods';
import type { CompareRequests, CompareEvents } from './panels/compare';

export * from './panelCommon';
export type * from './panels/checkpoint';
export type * from './panels/compress';
export type * from './panels/heatmap';
export type * from './panels/allocation';
export type * from './panels/perplexity';
export type * from './panels/methods';
export type * from './panels/compare';

export interface Panels {
  checkpoint: { requests: CheckpointRequests; events: CheckpointEvents };
  compress: { requests: CompressRequests; events: CompressEvents };
  heatmap: { requests: HeatmapRequests; events: HeatmapEvents };
  allocation: { requests: AllocationRequests; events: AllocationEvents };
  perplexity: { requests: PerplexityRequests; events: PerplexityEvents };
  compare: { requests: CompareRequests; events: CompareEvents };
  methods: { requests: MethodsRequests; events: MethodsEvents };
}
