/** Protocol methods onto stages: one line each, so that everything the engine can do is a function that tests can call. */
import * as inspection from '../core/analysis/stages';
import { compareMethods } from '../core/compare-methods';
import { compress } from '../core/pipeline';
import { estimate } from '../core/preflight';
import type { RequestDescription } from '../core/requests/describe';
import {
  calibrateRequest,
  compareRequest,
  compressRequest,
  compressShardRequest,
  differenceRequest,
  evaluateRequest,
  exportRequest,
  fisherRequest,
  frontierRequest,
  healthRequest,
  methodsRequest,
  jobSettings,
  planRequest,
  previewRequest,
  spectrumRequest,
  statisticsRequest,
  sweepRequest,
  sweepShardRequest,
} from '../core/requests/requests';
import { parseShard, type Shard } from '../core/shards';
import { evaluate } from '../core/stages/evaluate';
import { exportCheckpoint } from '../core/stages/export';
import { calibrate, fisher } from '../core/stages/statistics';
import { compressShard } from '../core/stages/compress-shard';
import { sweep, sweepShard } from '../core/stages/sweep';
import { PROTOCOL_VERSION } from '../protocol/engine';
import { version } from '../../package.json';
import { doctor } from './doctor';
import { Planner } from './planner';
import type { Handlers, Job } from './server';
import { createContext } from './session';

const planner = new Planner(__filename);

/** A handler whose request has been checked: whoever asks, unknown fields and wrong values are refused by name. */
const checked =
  <T, R>(request: RequestDescription<T>, work: (params: T, job: Job) => R) =>
  (params: unknown, job: Job): R =>
    work(request.check(params), job);

const shardOf = (shard: string | undefined): Shard | undefined =>
  shard === undefined ? undefined : parseShard(shard, process.env);

export const handlers: Handlers = {
  handshake: () => ({ version: PROTOCOL_VERSION, engine: version, pid: process.pid }),
  doctor: checked(jobSettings, doctor),
  statistics: checked(statisticsRequest, (params, job) => inspection.statistics(createContext(params, job), params)),
  spectrum: checked(spectrumRequest, (params, job) => inspection.spectrum(createContext(params, job), params)),
  preview: checked(previewRequest, (params, job) => inspection.preview(createContext(params, job), params)),
  difference: checked(differenceRequest, (params, job) => inspection.difference(createContext(params, job), params)),
  compare: checked(compareRequest, (params, job) => inspection.compare(createContext(params, job), params)),
  health: checked(healthRequest, (params, job) => inspection.health(createContext(params, job), params)),
  fisher: checked(fisherRequest, ({ shard, ...params }, job) =>
    fisher(createContext(params, job), params, shardOf(shard)),
  ),
  calibrate: checked(calibrateRequest, ({ shard, ...params }, job) =>
    calibrate(createContext(params, job), params, shardOf(shard)),
  ),
  sweep: checked(sweepRequest, (params, job) => sweep(createContext(params, job), params)),
  sweepShard: checked(sweepShardRequest, (params, job) =>
    sweepShard(createContext(params, job), params, parseShard(params.shard, process.env)),
  ),
  compressShard: checked(compressShardRequest, ({ shard, ...params }, job) =>
    compressShard(createContext(params, job), params, parseShard(shard, process.env), wanted =>
      planner.ask('plan', wanted, job.signal),
    ),
  ),
  plan: checked(planRequest, (params, job) => planner.ask('plan', params, job.signal)),
  frontier: checked(frontierRequest, (params, job) => planner.ask('frontier', params, job.signal)),
  estimate: checked(compressRequest, (params, job) => estimate(createContext(params, job), params)),
  compress: checked(compressRequest, (params, job) =>
    compress(createContext(params, job), params, wanted => planner.ask('plan', wanted, job.signal)),
  ),
  methods: checked(methodsRequest, (params, job) => compareMethods(createContext(params, job), params)),
  evaluate: checked(evaluateRequest, (params, job) => evaluate(createContext(params, job), params)),
  export: checked(exportRequest, (params, job) => exportCheckpoint(createContext(params, job), params)),
};
