/** What clicks ask of the host in every panel. How it went is told as a notice, so callers need not wait. */
import type { Sayable } from '../../extension/core/requests/requests';
import type { Destination, SavedFile } from '../../extension/protocol/panels';
import type { CommonHost } from './host';
import { notify, notifyError } from './notices';

/** Sends the user to another panel or place. */
export function navigate(host: CommonHost, destination: Destination): void {
  host.request('navigate', destination).catch(notifyError);
}

/** Opens a file in the editor, or reveals a folder. */
export function openPath(host: CommonHost, path: string): void {
  host.request('openPath', { path }).catch(notifyError);
}

/** Saves through the host and says where, for a click to open it. */
export function save(host: CommonHost, file: SavedFile): void {
  host
    .request('save', file)
    .then(({ path }) => path !== undefined && notify('Saved', { text: path, onClick: () => openPath(host, path) }))
    .catch(notifyError);
}

/** @param what is copied, for the confirmation: `the name`. */
export function copyText(host: CommonHost, text: string, what: string): void {
  host.request('copy', { text }).then(() => notify(`Copied ${what}`), notifyError);
}

/** Copies the command line that does what was clicked. */
export function copyCommand(host: CommonHost, command: Sayable): void {
  host
    .request('copyCommand', command)
    .then(({ text }) => notify(`Copied: ${text}`))
    .catch(notifyError);
}
