import type { Handlers, RequestMap, ServerEnd } from '../../protocol/channel';
import type { CommonRequests, PanelName, Panels, PanelTarget } from '../../protocol/panels';
import type { Studio } from '../studio';

type Requests<N extends PanelName> = Panels[N]['requests'];
type Events<N extends PanelName> = Panels[N]['events'];

/** An open panel as its controller sees it. */
export interface PanelContext<N extends PanelName> {
  readonly studio: Studio;
  readonly target: PanelTarget;
  /** Pushes an event; nothing happens once the panel is closed. */
  readonly emit: ServerEnd<Events<N>>['emit'];
  /** Disposes of something with the panel. */
  own(disposable: { dispose(): void }): void;
}

type HandlersOf<R> = R extends RequestMap<R> ? Omit<Handlers<R>, keyof CommonRequests> : never;

/** Makes the answers of a panel beyond those every panel has. */
export type Controller<N extends PanelName> = (context: PanelContext<N>) => HandlersOf<Requests<N>>;
