/** This panel's connection to the host, which its parts are given. */
import { compareContract } from '../../extension/protocol/panelGuards';
import { connectHost } from '../shared/host';

export const host = connectHost(compareContract);
export type CompareHost = typeof host;
