/** This panel's connection to the host, which its parts are given. */
import type { AllocationEvents, AllocationRequests, AllocationView } from '../../extension/protocol/panels';
import { connectHost } from '../shared/host';

export const host = connectHost<AllocationRequests, AllocationEvents>();
export type AllocationHost = typeof host;

/** The costs that plans are made from. */
export type Sweep = NonNullable<AllocationView['sweep']>;

/** A compression that a plan can be held against. */
export type Current = AllocationView['currents'][number];
