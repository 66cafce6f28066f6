/** Protocol methods onto stages: one line each, so that everything the engine can do is a function that tests can call. */
import * as inspection from '../core/analysis/stages';
import * as pipeline from '../core/pipeline';
import { estimate } from '../core/preflight';
import { PROTOCOL_VERSION } from '../protocol/engine';
import { version } from '../../package.json';
import { doctor } from './doctor';
import type { Handlers } from './server';
import { createContext } from './session';
import { nodeFiles } from '../node/files';

export const handlers: Handlers = {
  handshake: () => ({ version: PROTOCOL_VERSION, engine: version, pid: process.pid }),
  doctor: params => doctor(params),
  statistics: (params, job) => inspection.statistics(createContext(params, job), params),
  spectrum: (params, job) => inspection.spectrum(createContext(params, job), params),
  preview: (params, job) => inspection.preview(createContext(params, job), params),
  difference: (params, job) => inspection.difference(createContext(params, job), params),
  compare: (params, job) => inspection.compare(createContext(params, job), params),
  health: (params, job) => inspection.health(createContext(params, job), params),
  fisher: (params, job) => pipeline.fisher(createContext(params, job), params),
  sweep: (params, job) => pipeline.sweep(createContext(params, job), params),
  plan: params => pipeline.plan(nodeFiles, params),
  frontier: params => pipeline.frontier(nodeFiles, params),
  estimate: (params, job) => estimate(createContext(params, job), params),
  compress: (params, job) => pipeline.compress(createContext(params, job), params),
  evaluate: (params, job) => pipeline.evaluate(createContext(params, job), params),
  export: (params, job) => pipeline.exportCheckpoint(createContext(params, job), params),
};
