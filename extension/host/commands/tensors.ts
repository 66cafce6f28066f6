import * as vscode from 'vscode';
import { formatShape } from '../../core/format';
import type { LogicalTensor } from '../../core/checkpoint/types';
import { shownName } from '../model/describe';
import { matchingTensors } from '../model/fuzzy';
import type { Model } from '../model/models';

/** Entries shown at once; more would not be read. */
const limit = 200;

/** Lets the user find a tensor by what the tree's filter takes: letters of the name in order, in words. */
export function pickTensor({ tensors }: Model, placeholder: string): Promise<LogicalTensor | undefined> {
  const box = vscode.window.createQuickPick<vscode.QuickPickItem & { tensor?: LogicalTensor }>();
  box.placeholder = `${placeholder}: letters of its name in order, such as “l3 q proj”`;
  const show = (query: string) => {
    const found = matchingTensors(tensors, query);
    const items = found.slice(0, limit).map(({ tensor }) => ({
      label: shownName(tensor.name),
      description: `${formatShape(tensor.shape)} · ${tensor.dtype}`,
      // What matches is decided here; VS Code's own filter knows no words.
      alwaysShow: true,
      tensor,
    }));
    const more = found.length > limit ? [{ label: `${found.length - limit} more`, alwaysShow: true }] : [];
    box.items =
      found.length === 0
        ? [{ label: `No tensor matches “${shownName(query)}”`, alwaysShow: true }]
        : [...items, ...more];
  };
  show('');
  box.onDidChangeValue(show);
  return new Promise(resolve => {
    box.onDidAccept(() => {
      const [chosen] = box.selectedItems;
      if (!chosen?.tensor) return;
      resolve(chosen.tensor);
      box.hide();
    });
    box.onDidHide(() => {
      resolve(undefined);
      box.dispose();
    });
    box.show();
  });
}
