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
import { hubRepository } from '../core/files/hub-cache';
import { LqError } from '../core/errors';
import { LatestWins } from './model/latest';
import { panelRequests } from '../protocol/panelRequests';
import type {
  CommonRequests,
  Destination,
  PanelName,
  Panels as Protocol,
  PanelState,
  PanelTarget,
} from '../protocol/panels';
import { page, pageRoots } from './page';
import { allocation } from './panels/allocation';
import { checkpoint } from './panels/checkpoint';
import { commonHandlers, jobsOf } from './panels/common';
import { compare } from './panels/compare';
import { compress } from './panels/compress';
import type { Controller, PanelContext } from './panels/controller';
import { heatmap } from './panels/heatmap';
import { methods } from './panels/methods';
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
  methods,
};

/** Panels in tabs of their own; the checkpoint panel lives in the custom editor. */
const tabPanels = ['compress', 'heatmap', 'allocation', 'perplexity', 'compare', 'methods'] as const;
export type TabPanel = (typeof tabPanels)[number];

const titles: Record<TabPanel, string> = {
  compress: 'Compress',
  heatmap: 'Heatmap',
  allocation: 'Allocation',
  perplexity: 'Perplexity',
  compare: 'Compare',
  methods: 'Methods',
};
/** What a panel is called: a repository of the hub by its name, anything else by its last part. */
const nameOf = (model: string): string => hubRepository(model)?.name ?? path.basename(model);

/** An open panel, for commands that are about what is looked at. */
interface Shown {
  readonly target: PanelTarget;
  tensor?: string;
}

const viewType = (name: PanelName): string => `lqStudio.${name}`;

/** Opens panels, answers them, and brings them back after a reload. */
export class Panels implements vscode.Disposable {
  private readonly open = new Map<string, vscode.WebviewPanel>();
  private readonly shown = new Map<vscode.WebviewPanel, Shown>();
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
   */
  attach<N extends PanelName>(name: N, panel: vscode.WebviewPanel, target: PanelTarget, title: string): void {
    const { webview } = panel;
    const shown: Shown = { target };
    this.shown.set(panel, shown);
    panel.iconPath = iconOf(this.studio.extension, name);
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
    const selected: Handlers<CommonRequests>['selected'] = ({ tensor }) => {
      if (tensor === undefined) delete shown.tensor;
      else shown.tensor = tensor;
      return null;
    };
    const handlers = { ...commonHandlers(studio, target), selected, ...own };
    const end = serve<CommonRequests, Events<N>>(portOf(webview), schemas, handlers, error =>
      studio.output.error(`${name} panel: ${error.message}`),
    );
    owned.push(studio.engine.onDidChange(state => emit('engine', state)));
    const follow = new LatestWins<null, void>(async () => emit('jobs', await jobsOf(studio, target)));
    const report = (error: unknown) => studio.output.debug(LqError.from(error).message);
    owned.push(follow, { dispose: studio.jobs.onChange(() => void follow.call(null).catch(report)) });
    panel.onDidDispose(() => {
      this.shown.delete(panel);
      for (const disposable of owned) disposable.dispose();
      end.close();
    });
    webview.html = page(webview, this.studio.extension, name, target, title);
  }

  /** Whether the tab that a destination leads to is before the user's eyes. */
  isShown(place: Destination): boolean {
    return tabPanels.some(name => name === place.to && this.open.get(keyOf(name, place))?.visible === true);
  }

  /** What the active panel is of, and the tensor selected in it. */
  active(): { model?: string; tensor?: string } | undefined {
    const found = [...this.shown].find(([panel]) => panel.active)?.[1];
    return (
      found && {
        ...(found.target.model !== undefined && { model: found.target.model }),
        ...(found.tensor !== undefined && { tensor: found.tensor }),
      }
    );
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
    this.attach(name, panel, target, title);
  }
}

const keyOf = (name: PanelName, { model, other }: Pick<Destination, 'model' | 'other'>): string =>
  JSON.stringify([name, model, other]);

function titleOf(name: TabPanel, { model, other }: PanelTarget): string {
  const subject = [model, other].flatMap(each => (each === undefined ? [] : [nameOf(each)]));
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

/** The tab's picture: VS Code colours none of them, so there is one for each kind of theme. */
function iconOf(extension: vscode.Uri, name: PanelName): { light: vscode.Uri; dark: vscode.Uri } {
  const file = (theme: string) => vscode.Uri.joinPath(extension, 'media', 'tabs', `${name}-${theme}.svg`);
  return { light: file('light'), dark: file('dark') };
}

const portOf = (webview: vscode.Webview): Port => ({
  post: (message: Message) => void webview.postMessage(message),
  listen: receive => {
    const subscription = webview.onDidReceiveMessage(receive);
    return () => void subscription.dispose();
  },
});
