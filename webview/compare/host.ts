/** This panel's connection to the host, which its parts are given. */
import type { CompareEvents, CompareRequests } from '../../extension/protocol/panels';
import { connectHost } from '../shared/host';

export const host = connectHost<CompareRequests, CompareEvents>();
