/** What becomes of a checkpoint, whatever its files say: something that can be shown, or an error with a code. */
import { adapterSummary } from '../../extension/core/logical/formats/lora';
import { inspectReport } from '../../extension/core/analysis/inspect';
import { structureFindings } from '../../extension/core/analysis/health';
import { sliceName } from '../../extension/core/checkpoint/slices';
import { tensorTree } from '../../extension/core/checkpoint/tree';
import { LqError } from '../../extension/core/errors';
import { languageModelConfig } from '../../extension/core/evaluation/architecture';
import { ggufTokenizer } from '../../extension/core/evaluation/gguf-tokenizer';
import { describeModel } from '../../extension/core/evaluation/language-model';
import { weightLookup } from '../../extension/core/logical/lookup';
import { logicalTensors } from '../../extension/core/logical/logical';
import { openCheckpoint } from '../../extension/core/logical/open';
import { selectTargets } from '../../extension/core/logical/targets';
import { MemoryFiles } from '../unit/checkpoint/memory-files';
import { CORPUS, openedPath, type Folder } from './corpus';
import { mutated, type Random } from './mutate';

/** Opens the folder and looks at all that is made of it; an LqError is an outcome, anything else thrown is a fault. */
export async function outcome(folder: Folder, path: string): Promise<string> {
  try {
    const files = new MemoryFiles({ ...folder });
    const index = await openCheckpoint(files, path);
    const logical = logicalTensors(index);
    const report = inspectReport(index);
    check(
      report.layers.every(
        ({ bitsPerWeight, bytes }) => bitsPerWeight >= 0 && Number.isFinite(bitsPerWeight) && bytes >= 0,
      ),
    );
    check(logical.every(({ shape }) => shape.every(size => Number.isSafeInteger(size) && size >= 0)));
    check(Number.isFinite(report.parameters) && report.parameters >= 0);
    check(new Set(logical.map(({ name }) => name)).size === logical.length);
    // A part is a tensor, or an expert's slice of one.
    const stored = logical.flatMap(({ parts }) =>
      parts.map(({ name }) => (index.byName.has(name) ? name : sliceName(name)?.whole)),
    );
    check(stored.every(name => index.byName.has(name ?? '')) && new Set(stored).size === index.tensors.length);
    check(structureFindings(index.problems).every(({ message }) => message.length < 4000));
    tensorTree(logical);
    adapterSummary(index, logical);
    for (const work of [
      () => weightLookup(index),
      () => languageModelConfig(index.config, '/m/config.json'),
      () => describeModel(index),
      () => selectTargets(logical),
      () => index.gguf && ggufTokenizer(files, index.gguf, index.file),
    ])
      await typed(work);
    return index.problems.length > 0 ? 'opened with remarks' : 'opened';
  } catch (error) {
    if (error instanceof LqError && error.code !== 'internal') return error.code;
    throw error;
  }
}

async function typed(work: () => unknown): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof LqError) || error.code === 'internal') throw error;
  }
}

function check(holds: boolean): void {
  if (!holds) throw new Error('the report does not make sense');
}

/** A checkpoint of the corpus with one or two of its files changed. @param like of kinds whose name has this */
export function damaged(random: Random, like = ''): { kind: string; path: string; folder: Folder } {
  const kind = random.of(Object.keys(CORPUS).filter(name => name.includes(like)));
  let folder: Record<string, Uint8Array> = { ...CORPUS[kind]! };
  const names = Object.keys(folder);
  for (let i = random.below(2); i >= 0; i--) {
    const name = random.of(names);
    folder[name] = mutated(folder[name]!, random);
  }
  // Now and then a file is missing, or one lies there that does not belong.
  if (random.below(20) === 0) {
    const missing = random.of(names);
    folder = Object.fromEntries(Object.entries(folder).filter(([name]) => name !== missing));
  }
  if (random.below(20) === 0)
    folder[`/m/${random.of(['model.safetensors', 'x.gguf', 'config.json'])}`] = folder[names[0]!] ?? new Uint8Array(9);
  return { kind, path: openedPath(kind), folder };
}
