/** This panel's connection to the host, which its parts are given. */
import { perplexityContract } from '../../extension/protocol/panelGuards';
import { connectHost } from '../shared/host';

export const host = connectHost(perplexityContract);
export type PerplexityHost = typeof host;
