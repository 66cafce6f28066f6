/** A checkpoint in another format. */
import type { PipelineContext } from '../context';
import { LqError } from '../errors';
import { findExporter } from '../export/exporters';
import { openComplete } from '../opened';
import type { ExportReport } from '../reports';
import type { ExportRequest } from '../requests/requests';

export async function exportCheckpoint(context: PipelineContext, request: ExportRequest): Promise<ExportReport> {
  const exporter = findExporter(request.format);
  if (request.dtype !== undefined && exporter.dtypes !== true)
    throw new LqError('usage', `${exporter.label} has no float type to choose; leave out --dtype.`);
  if (request.splitSize !== undefined && exporter.splits !== true)
    throw new LqError('usage', `${exporter.label} is not split by size; leave out --split-size.`);
  const start = context.now();
  const index = await openComplete(context.files, request.model);
  const result = await exporter.run({
    pipeline: context,
    index,
    out: request.out,
    overwrite: request.overwrite ?? false,
    ...(request.dtype !== undefined && { dtype: request.dtype }),
    ...(request.splitSize !== undefined && { splitSize: request.splitSize }),
  });
  const { out, files, bytes, delivered } = result;
  return { out, files, bytes, delivered, seconds: (context.now() - start) / 1000 };
}
