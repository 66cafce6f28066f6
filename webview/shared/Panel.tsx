/** What every panel has: loading, the strip with the model, the engine's state, notices, and starting up. */
import { render, type ComponentChildren } from 'preact';
import { useCallback, useEffect, useState } from 'preact/hooks';
import type { ErrorData } from '../../extension/core/errors';
import { describeError } from '../../extension/protocol/channel';
import type { Sayable } from '../../extension/core/requests/requests';
import type { CommonEvents, ModelHeader } from '../../extension/protocol/panels';
import { Button, Menu, Spinner, type MenuItem } from '../controls';
import { formatBits, formatBytes, formatCount, formatDuration } from '../../extension/core/format';
import { copyCommand, openPath } from './actions';
import type { CommonHost } from './host';
import { Icon } from './icons';
import { Name } from './Name';
import { Notices } from './notices';
import { onThemeChange } from './theme';

/** Renders the panel into the host's page. */
export function start(app: ComponentChildren): void {
  const root = document.getElementById('root');
  if (!root) throw new Error('The page lacks #root');
  root.replaceChildren();
  render(
    <div class="panel">
      {app}
      <Notices />
    </div>,
    root,
  );
}

/** Re-renders when the theme changes, for pictures drawn by hand. */
export function useTheme(): number {
  const [version, setVersion] = useState(0);
  useEffect(() => onThemeChange(() => setVersion(old => old + 1)), []);
  return version;
}

export type Loaded<V> = { state: 'loading' } | { state: 'failed'; error: ErrorData } | { state: 'ready'; value: V };

/** Runs a request now and whenever `retry` is called or a dependency changes; an overtaken answer is dropped. */
export function useRequest<V>(ask: (signal: AbortSignal) => Promise<V>, dependencies: readonly unknown[]) {
  const [result, setResult] = useState<Loaded<V>>({ state: 'loading' });
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    setResult({ state: 'loading' });
    ask(abort.signal).then(
      value => !abort.signal.aborted && setResult({ state: 'ready', value }),
      (error: unknown) => !abort.signal.aborted && setResult({ state: 'failed', error: describeError(error) }),
    );
    return () => abort.abort();
  }, [...dependencies, attempt]);
  const retry = useCallback(() => setAttempt(old => old + 1), []);
  const replace = useCallback((value: V) => setResult({ state: 'ready', value }), []);
  return { result, retry, replace };
}

export function Failure({ error, onRetry }: { error: ErrorData; onRetry?: () => void }) {
  return (
    <div class="failure" role="alert">
      <Icon name="error" />
      <div>
        <p>{error.message.slice(0, 2000)}</p>
        {(error.file ?? error.tensor) && (
          <p class="muted">{[error.tensor, error.file].filter(Boolean).join(' in ').slice(0, 600)}</p>
        )}
        {onRetry && <Button onClick={onRetry}>Try again</Button>}
      </div>
    </div>
  );
}

/** Seconds gone by, for work of which nobody knows how long it takes. */
export function Elapsed({ since }: { since: number }) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const seconds = Math.floor((now - since) / 1000);
  return <>{seconds < 1 ? '' : formatDuration(seconds)}</>;
}

export function Loading({ what }: { what: string }) {
  const [since] = useState(Date.now());
  return (
    <div class="loading">
      <Spinner label={what} />
      <span role="status">{what}…</span>
      <span class="number">
        <Elapsed since={since} />
      </span>
    </div>
  );
}

/** Waits for what was asked and shows it. */
export function Await<V>(props: {
  of: { result: Loaded<V>; retry: () => void };
  what: string;
  children: (value: V) => ComponentChildren;
}) {
  const { result, retry } = props.of;
  if (result.state === 'loading') return <Loading what={props.what} />;
  if (result.state === 'failed') return <Failure error={result.error} onRetry={retry} />;
  return <>{props.children(result.value)}</>;
}

/** An empty state: what is not there yet, and the one thing to do about it. */
export function Empty(props: { title: string; children: ComponentChildren; action?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{props.title}</h2>
      <p>{props.children}</p>
      {props.action}
    </div>
  );
}

export function Fact(props: {
  label: string;
  value: ComponentChildren;
  title?: string;
  /** Takes the room of two. */
  wide?: boolean;
}) {
  const { label, value, title, wide } = props;
  return (
    <div class={wide ? 'fact wide' : 'fact'} title={title}>
      <dt>{label}</dt>
      <dd>{value}</dd>
    </div>
  );
}

/** The strip: what model this is, its size, and the one thing most worth doing next. */
export function Strip(props: {
  host: CommonHost;
  header: ModelHeader;
  primary?: ComponentChildren;
  menu?: readonly MenuItem[];
  command?: Sayable;
}) {
  const { header, host, command } = props;
  const menu = [
    ...(props.menu ?? []),
    ...(command
      ? [{ label: 'Copy as Command Line', icon: 'terminal' as const, onSelect: () => copyCommand(host, command) }]
      : []),
  ];
  return (
    <header class="strip">
      <div class="strip-model">
        <h1>
          <Name name={header.label} onClick={() => openPath(host, header.path)} />
        </h1>
        <span class="muted">{(header.architecture ?? 'Checkpoint').slice(0, 80)}</span>
      </div>
      <dl class="strip-facts">
        <Fact
          label="Parameters"
          value={formatCount(header.parameters)}
          title={header.parameters.toLocaleString('en-US')}
        />
        <Fact label="Type" value={header.dtype.slice(0, 60)} />
        <Fact label="Size" value={formatBytes(header.bytes)} title={`${header.bytes.toLocaleString('en-US')} bytes`} />
        <Fact
          label="Bits per weight"
          value={formatBits(header.bitsPerWeight)}
          title="Stored bits over logical parameters"
        />
        <Fact label={header.files === 1 ? 'File' : 'Files'} value={header.files} />
      </dl>
      <div class="strip-actions">
        {menu.length > 0 && <Menu label="More actions" icon="more" items={menu} />}
        {props.primary}
      </div>
    </header>
  );
}

/** Says that the engine died and why; work that finished is not lost. */
export function EngineBanner({ host }: { host: CommonHost }) {
  const [engine, setEngine] = useState<CommonEvents['engine']>();
  useEffect(() => host.on('engine', setEngine), []);
  if (engine?.state !== 'failed') return null;
  return (
    <div class="banner" role="alert">
      <Icon name="warning" />
      <span>
        {engine.reason?.slice(0, 300) ?? 'The engine stopped.'} Finished work is kept; it starts again with the next
        request.
      </span>
    </div>
  );
}
