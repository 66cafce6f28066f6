/** This panel's connection to the host, which its parts are given. */
import type { TensorStatistics } from '../../extension/core/analysis/types';
import type { CheckpointEvents, CheckpointRequests } from '../../extension/protocol/panels';
import { connectHost } from '../shared/host';

export const host = connectHost<CheckpointRequests, CheckpointEvents>();
export type CheckpointHost = typeof host;

export type StatisticsByName = ReadonlyMap<string, TensorStatistics>;
