/** This panel's connection to the host, which its parts are given. */
import type { TensorStatistics } from '../../extension/core/analysis/types';
import { checkpointContract } from '../../extension/protocol/panelGuards';
import { connectHost } from '../shared/host';

export const host = connectHost(checkpointContract);
export type CheckpointHost = typeof host;

export type StatisticsByName = ReadonlyMap<string, TensorStatistics>;
