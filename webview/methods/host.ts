/** This panel's connection to the host, which its parts are given. */
import type { MethodsEvents, MethodsRequests } from '../../extension/protocol/panels';
import { connectHost } from '../shared/host';

export const host = connectHost<MethodsRequests, MethodsEvents>();
export type MethodsHost = typeof host;
