/** A checkpoint in another format. */
import type { PipelineContext } from '../context';
import { findExporter } from '../export/exporters';
import { openComplete } from '../opened';
import type { ExportReport } from '../reports';
import type { ExportRequest } from '../requests/requests';

export async function exportCheckpoint(context: PipelineContext, request: ExportRequest): Promise<ExportReport> {
  const exporter = findExporter(request.format);
  const start = context.now();
  const index = await openComplete(context.files, request.model);
  const result = await exporter.run({
    pipeline: context,
    index,
    out: request.out,
    overwrite: request.overwrite ?? false,
  });
  return { ...result, seconds: (context.now() - start) / 1000 };
}
