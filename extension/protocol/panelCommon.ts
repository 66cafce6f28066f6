/** What all panels share: what they are of, the strip at their top, and what every one of them may ask of the host. */
import type { Role } from '../core/checkpoint/types';
import type { Sayable } from '../core/requests/requests';

export type PanelName = 'checkpoint' | 'compress' | 'heatmap' | 'allocation' | 'perplexity' | 'compare';

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
  /** Opens a file in the editor, or reveals a folder. */
  openPath: [{ path: string }, null];
  /** Asks for a file or folder. `path` is absent when dismissed. */
  pick: [
    { what: 'calibration' | 'evaluation' | 'fisher' | 'output' | 'checkpoint'; current?: string },
    { path?: string },
  ];
}

export interface CommonEvents {
  /** The engine's process: panels show `failed` with the reason and a button. */
  engine: { state: 'stopped' | 'starting' | 'running' | 'failed'; reason?: string };
}
