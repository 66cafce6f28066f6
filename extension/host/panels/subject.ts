import * as vscode from 'vscode';
import { LqError } from '../../core/errors';
import type { CompressionChoice, PanelTarget } from '../../protocol/panels';
import type { Model } from '../model/models';
import { madeFrom } from '../model/related';
import { isOlder } from '../older';
import type { Studio } from '../studio';

/** The checkpoint a panel is of. @throws LqError 'usage' for a panel of none, else those of `openCheckpoint`. */
export function modelOf(studio: Studio, { model }: PanelTarget): Promise<Model> {
  if (model === undefined) throw new LqError('usage', 'This panel is of no checkpoint. Open one and show it again.');
  return studio.models.open(model);
}

/** The compressions of a checkpoint that are there, newest first, to choose among. */
export async function choicesOf(studio: Studio, original: string): Promise<CompressionChoice[]> {
  const found = await Promise.all(
    madeFrom(studio.jobs.all(), original).map(async ({ job, output, report }) => {
      const model = await studio.models.open(output).catch(() => undefined); // moved or deleted since
      return (
        model && {
          path: output,
          label: model.header.label,
          effectiveBits: report.effectiveBits,
          older: await isOlder(studio, job),
        }
      );
    }),
  );
  return found.filter(each => each !== undefined);
}

/** Calls back when the checkpoint's files changed, or the workspace came to be trusted. */
export function onModelChange(
  studio: Studio,
  { model }: PanelTarget,
  listener: () => void | Promise<void>,
): vscode.Disposable {
  let version: string | undefined;
  const current = async () => (model === undefined ? undefined : (await studio.models.open(model)).version);
  const report = (error: unknown) =>
    studio.output.warn(`A panel could not follow ${model}: ${LqError.from(error).message}`);
  void current().then(now => (version = now), report);
  const check = async () => {
    const now = await current();
    if (now === version) return;
    version = now;
    await listener();
  };
  return vscode.Disposable.from(
    studio.checkpoints.onDidChange(() => void check().catch(report)),
    vscode.workspace.onDidGrantWorkspaceTrust(() => void Promise.resolve(listener()).catch(report)),
  );
}
