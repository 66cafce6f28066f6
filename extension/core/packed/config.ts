/** config.json of a packed checkpoint. */
import { LqError } from '../errors';
import { PACKED_FORMAT, PACKED_VERSION } from './format';

/**
 * What marks config.json of a packed checkpoint: no loader knows this method. It is spliced into the text so that every
 * other byte of the file stays, numbers such as 1e-05 and 10000.0 included.
 */
const markOf = (version: number): string =>
  `,\n  "quantization_config": {"quant_method": "${PACKED_FORMAT}", "version": ${version}}`;

/** config.json of a packed checkpoint: the source's with a `quantization_config` that other loaders refuse. */
export function markConfig(text: string, file: string): string {
  const end = text.lastIndexOf('}');
  if (end < 0) throw new LqError('not-a-checkpoint', `${file} is not a JSON object.`, { file });
  const config = JSON.parse(text) as Record<string, unknown>;
  if (config.quantization_config !== undefined)
    throw new LqError('unsupported-model', `${file} says that the model is quantised already.`, { file });
  const body = text.slice(0, end).trimEnd();
  const mark = markOf(PACKED_VERSION);
  return body.endsWith('{') ? `${body}${mark.slice(1)}\n}\n` : `${body}${mark}\n${text.slice(end)}`;
}

/** The inverse of `markConfig`. */
export function unmarkConfig(text: string): string {
  for (let version = PACKED_VERSION; version > 0; version--)
    if (text.includes(markOf(version))) return text.replace(markOf(version), '');
  const { quantization_config: _mark, ...config } = JSON.parse(text) as Record<string, unknown>;
  return `${JSON.stringify(config, undefined, 2)}\n`;
}
