/** Tensors that an export keeps bit for bit. */
import type { ByteRange } from '../native';
import { siblingOf } from './cache';
import { callNative, stageReporter, type PipelineContext } from '../context';

export interface TensorCopy {
  readonly name: string;
  /** Relative name of the file copied to. */
  readonly shard: string;
  readonly from: ByteRange;
  readonly to: ByteRange;
}

/** Copies a file under a name that has the old content or all of the new. */
export async function copyWhole(context: PipelineContext, from: string, to: string): Promise<void> {
  const { files } = context;
  const partial = siblingOf(context, to);
  try {
    await files.copyFile(from, partial);
    await files.sync(partial);
    await files.rename(partial, to);
  } finally {
    await files.remove(partial);
  }
}

/** Copies tensors between files, off the JavaScript heap. */
export async function copyTensors(context: PipelineContext, copies: readonly TensorCopy[]): Promise<void> {
  const report = stageReporter(
    context,
    'write',
    copies.reduce((sum, { from }) => sum + from.bytes, 0),
  );
  let done = 0;
  for (const { name, from, to } of copies) {
    report(done, { item: name });
    await callNative(context, { file: from.path, tensor: name }, control => context.native.copy(from, to, control));
    done += from.bytes;
  }
  report(done);
}
