/** This panel's connection to the host, which its parts are given. */
import { compressContract } from '../../extension/protocol/panelGuards';
import { connectHost } from '../shared/host';

export const host = connectHost(compressContract);
export type CompressHost = typeof host;
