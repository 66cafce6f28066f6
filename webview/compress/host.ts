/** This panel's connection to the host, which its parts are given. */
import type { CompressEvents, CompressRequests } from '../../extension/protocol/panels';
import { connectHost } from '../shared/host';

export const host = connectHost<CompressRequests, CompressEvents>();
export type CompressHost = typeof host;
