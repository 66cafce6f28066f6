/** All subcommands, in the order help lists them. */
import type { Command } from '../command';
import { cacheCommand } from './cache';
import { calibrateCommand } from './calibrate';
import { clusterCommand } from './cluster';
import { compareCommand } from './compare';
import { compressCommand } from './compress';
import { doctorCommand } from './doctor';
import { evalCommand } from './eval';
import { exportCommand } from './export';
import { fisherCommand } from './fisher';
import { healthCommand } from './health';
import { inspectCommand } from './inspect';
import { loadsCommand } from './loads';
import { methodsCommand } from './methods';
import { planCommand } from './plan';
import { statsCommand } from './stats';
import { sweepCommand } from './sweep';

export const commands: readonly Command[] = [
  inspectCommand,
  statsCommand,
  healthCommand,
  compareCommand,
  compressCommand,
  methodsCommand,
  fisherCommand,
  calibrateCommand,
  sweepCommand,
  planCommand,
  evalCommand,
  exportCommand,
  loadsCommand,
  clusterCommand,
  cacheCommand,
  doctorCommand,
];
