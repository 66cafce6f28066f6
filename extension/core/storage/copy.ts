/** Tensors that an export keeps bit for bit. */
import type { ByteRange } from '../native';
import { callNative, stageReporter, type PipelineContext } from '../context';

export interface TensorCopy {
  readonly name: string;
  /** Relative name of the file copied to. */
  readonly shard: string;
  readonly from: ByteRange;
  readonly to: ByteRange;
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
