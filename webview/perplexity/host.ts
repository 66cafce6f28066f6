/** This panel's connection to the host, which its parts are given. */
import type { PerplexityEvents, PerplexityRequests } from '../../extension/protocol/panels';
import { connectHost } from '../shared/host';

export const host = connectHost<PerplexityRequests, PerplexityEvents>();
export type PerplexityHost = typeof host;
