/** Layers in groups whose statistics fit into memory: each group is a pass over the text. */
import type { LogicalTensor } from '../checkpoint/types';
import type { PipelineContext } from '../context';
import { BLOCK_INPUTS } from '../evaluation/weights';
import { isTokenRole } from '../logical/targets';

/** Share of what is free on a device that statistics may take unless a request says. */
const SHARE = 0.5;

/** Bytes of statistics that are held at a time: as asked for, or a share of what the device has free. */
export function heldAtATime({ native, device }: Pick<PipelineContext, 'native' | 'device'>, asked?: number): number {
  if (asked !== undefined) return asked;
  const free = native.devices().devices.find(({ id }) => id === device)?.memoryFree ?? 0;
  return free > 0 ? SHARE * free : Infinity;
}

/**
 * Consecutive layers together while their bytes are within `most`; a layer that has more is a group of its own.
 * @param bytes of each layer's statistics, in the order of the network
 * @returns layer by layer the number of its group, and how many there are
 */
export function groupLayers(
  bytes: ReadonlyMap<number, number>,
  most: number,
): { groupOf: ReadonlyMap<number, number>; groups: number } {
  const groupOf = new Map<number, number>();
  let [group, held] = [0, 0];
  for (const layer of [...bytes.keys()].sort((a, b) => a - b)) {
    const own = bytes.get(layer)!;
    if (held > 0 && held + own > most) {
      group += 1;
      held = 0;
    }
    held += own;
    groupOf.set(layer, group);
  }
  return { groupOf, groups: group + 1 };
}

/** Passes over the text that the second moments of these matrices' inputs take, of which so many bytes are held at a time. */
export function passesOver(targets: readonly LogicalTensor[], held: number): number {
  const layers = new Map<number, number>();
  const inputs = new Set<string>();
  for (const { name, role, layer, shape } of targets.filter(target => !isTokenRole(target))) {
    const input = `${name.replace(/\.[^.]+\.weight$/, '')} ${BLOCK_INPUTS.get(role) ?? name}`;
    if (!inputs.has(input)) layers.set(layer, (layers.get(layer) ?? 0) + 4 * shape[1]! ** 2);
    inputs.add(input);
  }
  return groupLayers(layers, held).groups;
}
