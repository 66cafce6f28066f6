import * as vscode from 'vscode';
import { LqError } from '../core/errors';
import type { Destination } from '../protocol/panels';
import { showCheckpoint } from './editor';
import type { Panels } from './panels';
import { openPath } from './panels/common';
import { formOf } from './panels/compress';
import type { Studio } from './studio';

/** Where a panel or a command sends the user. */
export async function navigate(
  studio: Studio,
  panels: Panels,
  { to, model, tensor, other, job }: Destination,
): Promise<void> {
  switch (to) {
    case 'checkpoint': {
      if (model === undefined) throw new LqError('usage', 'No checkpoint was named.');
      const { file } = await studio.models.open(model);
      if (tensor !== undefined) studio.selection.ask(file, tensor);
      await showCheckpoint(file);
      return;
    }
    case 'compress': {
      if (model === undefined) throw new LqError('usage', 'No checkpoint was named.');
      const show = job === undefined ? { form: formOf(studio, await studio.models.open(model)) } : { job };
      studio.compressions.ask(model, show);
      panels.show(to, { model });
      return;
    }
    case 'heatmap':
    case 'allocation':
    case 'perplexity':
    case 'methods':
    case 'compare':
      panels.show(to, { ...(model !== undefined && { model }), ...(other !== undefined && { other }) });
      return;
    case 'export':
      await vscode.commands.executeCommand('lqStudio.export', model === undefined ? undefined : { model });
      return;
    case 'health':
      await vscode.commands.executeCommand('lqStudio.checkHealth', model === undefined ? undefined : { model });
      return;
    case 'explorer':
      if (model !== undefined) await openPath(model);
      return;
    case 'settings':
      await vscode.commands.executeCommand('lqStudio.openSettings');
      return;
    case 'output':
      await vscode.commands.executeCommand('lqStudio.showOutput');
      return;
  }
}
