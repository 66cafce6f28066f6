import * as path from 'node:path';
import * as vscode from 'vscode';
import {
  serve,
  type Handlers,
  type Message,
  type Port,
  type RequestSchemas,
  type ServerEnd,
} from '../protocol/channel';
import { panelRequests } from '../protocol/panelRequests';
import type { CommonRequests, PanelName, Panels as Protocol, PanelState, PanelTarget } from '../protocol/panels';
import { page, pageRoots } from './page';
import { allocation } from './panels/allocation';
import { checkpoint } from './panels/checkpoint';
import { commonHandlers, jobsOf } from './panels/common';
import { compare } from './panels/compare';
import { compress } from './panels/compress';
import type { Controller, PanelContext } from './panels/controller';
import { heatmap } from './panels/heatmap';
import { perplexity } from './panels/perplexity';
import type { Studio } from './studio';

type Events<N extends PanelName> = Protocol[N]['events'];

const controllers: { [N in PanelName]: Controller<N> } = {
  checkpoint,
  compress,
  heatmap,
  allocation,
  perplexity,
  compare,
};

/** Panels in tabs of their own; the checkpoint panel lives in the custom editor. */
export const tabPanels = ['compress', 'heatmap', 'allocation', 'perplexity', 'compare'] as const;
export type TabPanel = (typeof tabPanels)[number];

const titles: Record<TabPanel, string> = {
  compress: 'Compress',
  heatmap: 'Heatmap',
  allocation: 'Allocation',
  perplexity: 'Perplexity',
  compare: 'Compare',
};
export const viewType = (name: PanelName): string => `lqStudio.${name}`;

/** Opens panels, answers them, and brings them back after a reload. */
export class Panels implements vscode.Disposable {
  private readonly open = new Map<string, vscode.WebviewPanel>();
  private readonly disposables: vscode.Disposable[];

  constructor(private readonly studio: Studio) {
    this.disposables = tabPanels.map(name =>
      vscode.window.registerWebviewPanelSerializer(viewType(name), {
        deserializeWebviewPanel: (panel, state: unknown) => {
          this.attachTab(name, panel, targetOf(state));
          return Promise.resolve();
        },
      }),
    );
  }

  /** Shows the panel of a target, the one already open when there is one. */
  show(name: TabPanel, target: PanelTarget): void {
    const known = this.open.get(keyOf(name, target));
    if (known) return known.reveal();
    const panel = vscode.window.createWebviewPanel(viewType(name), titles[name], vscode.ViewColumn.Active);
    this.attachTab(name, panel, target);
  }

  /**
   * Fills a webview with a panel and answers it until it is disposed.
   * @returns pushes events to it.
   */
  attach<N extends PanelName>(
    name: N,
    webview: vscode.Webview,
    target: PanelTarget,
    title: string,
    onDispose: vscode.Event<void>,
  ): ServerEnd<Events<N>>['emit'] {
    webview.options = { enableScripts: true, localResourceRoots: pageRoots(this.studio.extension) };
    // Indexing by a type parameter loses the tie between schemas and controller; both tables are typed above. What is
    // common to all panels is what can be said here.
    const schemas = panelRequests[name] as unknown as RequestSchemas<CommonRequests>;
    const controller = controllers[name] as unknown as (context: PanelContext<N>) => Partial<Handlers<CommonRequests>>;
    const owned: { dispose(): void }[] = [];
    // A controller emits when something happens, never while it is made.
    const emit: ServerEnd<Events<N>>['emit'] = (event, data) => end.emit(event, data);
    const { studio } = this;
    const own = controller({ studio, target, emit, own: disposable => owned.push(disposable) });
    const handlers = { ...commonHandlers(studio, target), ...own };
    const end = serve<CommonRequests, Events<N>>(portOf(webview), schemas, handlers, error =>
      studio.output.error(`${name} panel: ${error.message}`),
    );
    owned.push(studio.engine.onDidChange(state => emit('engine', state)));
    owned.push({ dispose: studio.jobs.onChange(() => emit('jobs', jobsOf(studio, target))) });
    onDispose(() => {
      for (const disposable of owned) disposable.dispose();
      end.close();
    });
    webview.html = page(webview, this.studio.extension, name, target, title);
    return emit;
  }

  dispose(): void {
    for (const disposable of this.disposables) disposable.dispose();
  }

  private attachTab(name: TabPanel, panel: vscode.WebviewPanel, target: PanelTarget): void {
    const key = keyOf(name, target);
    this.open.set(key, panel);
    panel.onDidDispose(() => {
      if (this.open.get(key) === panel) this.open.delete(key);
    });
    const title = titleOf(name, target);
    panel.title = title;
    this.attach(name, panel.webview, target, title, panel.onDidDispose);
  }
}

const keyOf = (name: PanelName, target: PanelTarget): string => JSON.stringify([name, target.model, target.other]);

function titleOf(name: TabPanel, { model, other }: PanelTarget): string {
  const subject = [model, other].flatMap(each => (each === undefined ? [] : [path.basename(each)]));
  return [titles[name], ...(subject.length > 0 ? [subject.join(' and ')] : [])].join(': ');
}

/** What a panel kept before the reload; an older version's state opens an empty panel, which says what to do. */
function targetOf(state: unknown): PanelTarget {
  const target = (state as Partial<PanelState> | undefined)?.target;
  return {
    ...(typeof target?.model === 'string' && { model: target.model }),
    ...(typeof target?.other === 'string' && { other: target.other }),
  };
}

const portOf = (webview: vscode.Webview): Port => ({
  post: (message: Message) => void webview.postMessage(message),
  listen: receive => {
    const subscription = webview.onDidReceiveMessage(receive);
    return () => void subscription.dispose();
  },
});
