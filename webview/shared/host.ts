/** This panel's end of the channel, and what it remembers across reloads. */
import { useCallback, useState } from 'preact/hooks';
import { connect, type ClientEnd, type RequestMap } from '../../extension/protocol/channel';
import type { CommonEvents, CommonRequests, PanelState, PanelTarget } from '../../extension/protocol/panels';

const api = acquireVsCodeApi<PanelState>();

export type Host<R extends RequestMap<R>, E> = ClientEnd<R, E>;
/** The requests every panel can make and the events it hears: what shared pieces need. */
export type CommonHost = Pick<ClientEnd<CommonRequests, CommonEvents>, 'request' | 'on'>;

/** Joins the host. */
export function connectHost<R extends RequestMap<R>, E>(): Host<R, E> {
  return connect({
    post: message => api.postMessage(message),
    listen: receive => {
      const hear = (event: MessageEvent<unknown>) => receive(event.data);
      window.addEventListener('message', hear);
      return () => window.removeEventListener('message', hear);
    },
  });
}

/** What the host's page says this panel is of. */
function readTarget(): PanelTarget {
  const target: unknown = JSON.parse(document.body.dataset['target'] ?? '{}');
  return typeof target === 'object' && target !== null ? target : {};
}

const saved = api.getState();
let target: PanelTarget = saved?.target ?? readTarget();
const view: Record<string, unknown> = { ...(saved?.view as Record<string, unknown> | undefined) };
const store = () => void api.setState({ target, view });
store();

/** Keeps what this panel is of when that changes, so that a reload opens the same again. */
export function rememberTarget(changed: PanelTarget): void {
  target = changed;
  store();
}

/**
 * State that survives hiding and reloading the panel.
 * @param accepts guards what an older version may have stored.
 */
export function useSaved<T>(key: string, initial: T, accepts: (value: unknown) => value is T): [T, (value: T) => void] {
  const [value, setValue] = useState<T>(() => {
    const kept = view[key];
    return accepts(kept) ? kept : initial;
  });
  const save = useCallback(
    (next: T) => {
      setValue(next);
      view[key] = next;
      store();
    },
    [key],
  );
  return [value, save];
}

export const isString = (value: unknown): value is string => typeof value === 'string';
export const isStrings = (value: unknown): value is string[] => Array.isArray(value) && value.every(isString);
export const isBoolean = (value: unknown): value is boolean => typeof value === 'boolean';
export const isNumber = (value: unknown): value is number => Number.isFinite(value);
