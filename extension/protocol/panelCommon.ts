/** What all panels share: what they are of, the strip at their top, and what every one of them may ask of the host. */
import type { Role } from '../core/checkpoint/types';
import type { ErrorData } from '../core/errors';
import type { Sayable } from '../core/requests/requests';
import type { Progress } from '../core/progress';

export type PanelName = 'checkpoint' | 'compress' | 'heatmap' | 'allocation' | 'perplexity' | 'compare' | 'methods';

/**
 * What a panel is of. The host's page is `<body data-panel="NAME" data-target="JSON"><main id="root"></main></body>` with
 * dist/webview/NAME.js and, when there is one, dist/webview/NAME.css; nothing inline but what carries the nonce.
 */
export interface PanelTarget {
  /** Absent for a comparison of which nothing is chosen yet. */
  model?: string;
  /** The second checkpoint of a comparison. */
  other?: string;
}

/** What every panel keeps with `setState` from its first moment: after a reload the host opens it again from `target`. */
export interface PanelState {
  target: PanelTarget;
  /** The panel's own: selection, sorting, scroll position. */
  view?: unknown;
}

/** The strip at the top of every panel. */
export interface ModelHeader {
  /** Absolute path of what was opened: a folder, an index or one safetensors file. */
  path: string;
  label: string;
  /** Changes with any of its files: what was computed under another is of older files. */
  version: string;
  /** Such as `LlamaForCausalLM`, when config.json says. */
  architecture?: string;
  parameters: number;
  /** Most of the parameters' dtype, with others counted, such as `BF16` or `NF mixed + BF16`. */
  dtype: string;
  /** Tensor bytes. */
  bytes: number;
  /** 8 * bytes / parameters over the logical weights. */
  bitsPerWeight: number;
  files: number;
  tensors: number;
  /** True when the checkpoint is one of our own, packed. */
  compressed: boolean;
  /** What was opened is one file of this checkpoint, which is what can be run and compressed. `number` counts from 1. */
  part?: { path: string; label: string; number: number; count: number };
}

/** A matrix that can be compressed. */
export interface TargetMatrix {
  name: string;
  role: Role;
  layer: number;
  /** [out, in]. */
  shape: number[];
}

/** Where a panel can send the user. `model` is a path, `other` the second checkpoint of a comparison. */
export interface Destination {
  to: PanelName | 'export' | 'health' | 'explorer' | 'settings' | 'output';
  model?: string;
  tensor?: string;
  other?: string;
  /** The job to show, when there are several of the checkpoint. */
  job?: string;
}

/**
 * Long work as every view shows it. It belongs to the host: it goes on when views are closed, and ends early only by an
 * explicit `cancelJob`.
 */
export interface JobView {
  id: string;
  method: 'compress' | 'evaluate' | 'export' | 'sweep' | 'statistics' | 'compare' | 'methods';
  /** Such as `Compress tiny-books-4m`. */
  title: string;
  /** The checkpoint it works on: a path. */
  model: string;
  /** The second checkpoint of a comparison. */
  other?: string;
  /** `interrupted`: the editor or the engine went away; what was finished is kept and `resumeJob` goes on. */
  state: 'queued' | 'running' | 'done' | 'failed' | 'cancelled' | 'interrupted';
  /** Another window runs it: it can be watched here, not cancelled. */
  elsewhere: boolean;
  /** Whether going on with the same request can help. */
  resumable: boolean;
  /** Milliseconds since 1970, as are the others. */
  created: number;
  started?: number;
  ended?: number;
  progress?: Progress;
  error?: ErrorData;
  /** The checkpoint's files have changed since: what came of it is of older ones. */
  older?: boolean;
}

/** A file the panel has made. Text as it is, PNG as base64 without a prefix. */
export interface SavedFile {
  name: string;
  type: 'csv' | 'json' | 'md' | 'png';
  data: string;
}

/** Requests every panel may make: method -> [params, result]. */
export interface CommonRequests {
  /** Asks where to save and writes. `path` is absent when the user dismissed the dialogue. */
  save: [SavedFile, { path?: string }];
  copy: [{ text: string }, null];
  /** Copies the command line and returns it for the confirmation. */
  copyCommand: [Sayable, { text: string }];
  navigate: [Destination, null];
  /** Tells which tensor the panel shows as selected: commands without another subject are about it. */
  selected: [{ tensor?: string }, null];
  /** Opens a file in the editor, or reveals a folder. */
  openPath: [{ path: string }, null];
  /** Asks for a file or folder. `path` is absent when dismissed. */
  pick: [
    { what: 'calibration' | 'evaluation' | 'fisher' | 'output' | 'checkpoint'; current?: string },
    { path?: string },
  ];
  /** What is at work on this panel's checkpoint or stopped before its end, newest first. */
  jobs: [null, JobView[]];
  cancelJob: [{ job: string }, null];
  /** Asks for the same again; what was finished is not done twice. */
  resumeJob: [{ job: string }, null];
  /** Takes a job that is not at work off the lists; no file is touched. */
  removeJob: [{ job: string }, null];
}

export interface CommonEvents {
  /** The engine's process: panels show `failed` with the reason and a button. */
  engine: { state: 'stopped' | 'starting' | 'running' | 'failed'; reason?: string };
  /** One of them changed: all as `jobs` answers. */
  jobs: JobView[];
}
