import * as vscode from 'vscode';
import { LqError } from '../../core/errors';
import type { CompareReport } from '../../core/analysis/types';
import type { CompareView } from '../../protocol/panels';
import type { CompareRequest } from '../../core/requests/requests';
import { compareStructure } from '../../core/analysis/compare';
import type { Job, JobOf } from '../model/jobs';
import type { Model } from '../model/models';
import { isOlder } from '../older';
import type { Studio } from '../studio';
import type { Controller } from './controller';
import { jobSettings } from '../settings';
import { pick } from './common';

/** The compare panel: two checkpoints, what is in each from their headers, then how far the values are apart. */
export const compare: Controller<'compare'> = ({ studio, target, emit, own }) => {
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
  const isOurs = ({ params }: JobOf<'compare'>): boolean => params.a === sides.a && params.b === sides.b;
  const report = (error: unknown) => studio.output.warn(`A panel could not follow: ${LqError.from(error).message}`);

  own(studio.checkpoints.onDidChange(() => void view().then(changed => emit('changed', changed), report)));
  own({
    dispose: studio.jobs.onPiece((job, piece) => {
      if (job.method === 'compare' && isOurs(job)) emit('tensors', [piece as CompareReport['tensors'][number]]);
    }),
  });
  own({
    dispose: studio.jobs.onChange(job => {
      // Another window's pieces are not heard; its result is.
      if (job.method === 'compare' && job.result && isOurs(job)) emit('tensors', job.result.tensors);
    }),
  });

  return {
    load: view,
    choose: async ({ side, path }) => {
      const chosen = path ?? (await pick('checkpoint', sides[side]));
      if (chosen !== undefined) sides[side] = (await studio.models.open(chosen)).path;
      return view();
    },
    structure: async () => {
      const [a, b] = await both();
      return (await lastComparison(studio, a, b)) ?? compareStructure(a.index, b.index);
    },
    values: async () => {
      const [a, b] = await both();
      const request: CompareRequest = { ...jobSettings(), a: a.path, b: b.path };
      const title = `Compare ${a.header.label} with ${b.header.label}`;
      return { job: studio.jobs.start('compare', request, title).id };
    },
  };
};

/** The newest comparison of two checkpoints whose files have not changed since. */
async function lastComparison(studio: Studio, a: Model, b: Model): Promise<CompareReport | undefined> {
  const found = studio.jobs
    .all()
    .find(
      (job): job is Job & JobOf<'compare'> =>
        job.method === 'compare' && job.status === 'done' && job.params.a === a.path && job.params.b === b.path,
    );
  return found?.result && !(await isOlder(studio, found)) ? found.result : undefined;
}
