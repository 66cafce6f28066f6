/** This panel's connection to the host, which its parts are given. */
import { heatmapContract } from '../../extension/protocol/panelGuards';
import { connectHost } from '../shared/host';

export const host = connectHost(heatmapContract);
export type HeatmapHost = typeof host;
