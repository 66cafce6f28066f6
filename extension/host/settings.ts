import * as vscode from 'vscode';
import type { FactorStorage } from '../core/options/types';
import type { QuantConfig } from '../core/native';
import type { JobSettings } from '../core/requests/requests';
import { gridConfigs, paperAxes, type GridAxes } from './model/grid';

const section = 'lqStudio';

/** What the compress form begins with. */
export interface Defaults {
  rank: number;
  factors: FactorStorage;
  /** Absent: the paper's. */
  grid?: QuantConfig[];
}

const get = <T>(key: string, fallback: T, scope?: vscode.Uri): T =>
  vscode.workspace.getConfiguration(section, scope).get(key, fallback);

/** Settings that every request to the engine carries. */
export function jobSettings(): JobSettings {
  const cache = get('cache.folder', '').trim();
  return { device: get('device', 'auto'), threads: get('threads', 0), ...(cache && { cache }) };
}

export function defaults(scope?: vscode.Uri): Defaults {
  // An object setting may be given in part; what is missing is the paper's.
  const grid = gridConfigs({ ...paperAxes, ...get<Partial<GridAxes>>('grid', {}, scope) });
  return { rank: get('defaultRank', 16, scope), factors: get('factorStorage', 'nf8', scope), ...(grid && { grid }) };
}

/** Bytes the cache may hold; 0 for no limit. */
export const cacheLimit = (): number => get('cache.maxSize', 20) * 1e9;

export const hoversEnabled = (scope: vscode.Uri): boolean => get('hovers.enabled', true, scope);
export const decorationsEnabled = (): boolean => get('decorations.enabled', true);

/** Calls back when one of the named settings changes. */
export function onSettings(keys: readonly string[], listener: () => void): vscode.Disposable {
  return vscode.workspace.onDidChangeConfiguration(event => {
    if (keys.some(key => event.affectsConfiguration(`${section}.${key}`))) listener();
  });
}
