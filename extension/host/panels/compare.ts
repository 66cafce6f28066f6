import * as vscode from 'vscode';
import { LqError } from '../../core/errors';
import type { CompareReport } from '../../core/analysis/types';
import type { CompareView } from '../../protocol/panels';
import type { CompareRequest } from '../../core/requests/requests';
import { compareStructure } from '../../core/analysis/compare';
import type { Model } from '../model/models';
import type { Controller } from './controller';
import { jobSettings } from '../settings';
import { pick } from './common';

/** The compare panel: two checkpoints, what is in each from their headers, then how far the values are apart. */
export const compare: Controller<'compare'> = ({ studio, target, emit }) => {
  const sides: { a: string | undefined; b: string | undefined } = { a: target.model, b: target.other };

  const opened = async (side: 'a' | 'b'): Promise<Model | undefined> => {
    const path = sides[side];
    return path === undefined ? undefined : studio.models.open(path);
  };
  const both = async (): Promise<[Model, Model]> => {
    const [a, b] = await Promise.all([opened('a'), opened('b')]);
    if (!a || !b) throw new LqError('usage', 'Choose both checkpoints first.');
    return [a, b];
  };
  const view = async (): Promise<CompareView> => {
    const [a, b] = await Promise.all([opened('a'), opened('b')]);
    return { canCompute: vscode.workspace.isTrusted, ...(a && { a: a.header }), ...(b && { b: b.header }) };
  };

  return {
    load: view,
    choose: async ({ side, path }) => {
      const chosen = path ?? (await pick('checkpoint', sides[side]));
      if (chosen !== undefined) sides[side] = (await studio.models.open(chosen)).path;
      return view();
    },
    structure: async () => {
      const [a, b] = await both();
      return compareStructure(a.index, b.index);
    },
    values: async (_, { signal, progress }) => {
      const [a, b] = await both();
      const request: CompareRequest = { ...jobSettings(), a: a.path, b: b.path };
      return studio.engine.request('compare', request, {
        signal,
        onProgress: each => {
          progress(each);
          const piece = each.partial as CompareReport['tensors'][number] | undefined;
          if (piece !== undefined) emit('tensors', [piece]);
        },
      });
    },
  };
};
