/** This panel's connection to the host, which its parts are given. */
import type { AllocationEvents, AllocationRequests } from '../../extension/protocol/panels';
import type { AllocationView } from '../../extension/protocol/panels';
import { connectHost } from '../shared/host';

export const host = connectHost<AllocationRequests, AllocationEvents>();
export type AllocationHost = typeof host;

/** The costs that plans are made from. */
export type Sweep = NonNullable<AllocationView['sweep']>;
