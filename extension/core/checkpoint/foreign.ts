/** What a file is that was taken for a safetensors file, by its first bytes: the reason is mostly a download gone wrong. */
import { formatBytes } from '../format';
import { quoteName } from '../text';

/** Files that begin with bytes of their own, and what to do about those that hold weights. */
const MAGIC: readonly (readonly [bytes: string, what: string])[] = [
  ['GGUF', 'a GGUF file, as llama.cpp reads'],
  ['FUGG', 'a big-endian GGUF file'],
  ['ggjt', 'a GGML file of an older llama.cpp; convert it to GGUF or from the original'],
  ['lmgg', 'a GGML file of an older llama.cpp; convert it to GGUF or from the original'],
  [
    'PK\x03\x04',
    'a ZIP archive, which torch.save writes: a PyTorch pickle can run code and is not opened; ' +
      'load it in Python and save it as safetensors',
  ],
  ['PK\x05\x06', 'an empty ZIP archive'],
  ['\x89HDF\r\n\x1a\n', 'an HDF5 file, as Keras writes; convert it to safetensors'],
  ['\x93NUMPY', 'a NumPy array; convert it to safetensors'],
  ['PAR1', 'a Parquet file: data, not weights'],
  ['\x1f\x8b', 'a gzip archive; unpack it'],
  ['\xfd7zXZ\x00', 'an xz archive; unpack it'],
  ['\x28\xb5\x2f\xfd', 'a Zstandard archive; unpack it'],
  ['7z\xbc\xaf\x27\x1c', 'a 7-Zip archive; unpack it'],
  ['\x7fELF', 'a program'],
  ['%PDF', 'a PDF document'],
  ['\x89PNG', 'a picture'],
  ['\xff\xd8\xff', 'a picture'],
];
/** Enough for every test below. */
export const FOREIGN_BYTES = 512;

/**
 * What the file is, as the end of "it is …", or undefined for one that is not known.
 * @param start its first bytes, `FOREIGN_BYTES` or all of it
 */
export function foreignContent(start: Uint8Array, fileBytes: number): string | undefined {
  if (fileBytes === 0) return 'empty: 0 bytes, perhaps a download that was broken off';
  if (start.length > 0 && start.subarray(0, 64).every(byte => byte === 0)) {
    return 'zeros: the space was reserved, but its download did not finish';
  }
  const head = Array.from(start.subarray(0, FOREIGN_BYTES), byte => String.fromCharCode(byte)).join('');
  const pointer = /^version https:\/\/git-lfs\.github\.com\/spec\/[\s\S]*?(?:\nsize (\d+)|$)/.exec(head);
  if (pointer) return `a Git LFS pointer, not the file itself${sized(pointer[1])}: run \`git lfs pull\` in its folder`;
  if (/^(?:\.\.\/|\/)*(?:\.git\/)?annex\/objects\//.test(head))
    return 'a git-annex pointer, not the file itself: run `git annex get` in its folder';
  for (const [bytes, what] of MAGIC) if (head.startsWith(bytes)) return what;
  if (head.slice(257, 262) === 'ustar') return 'a tar archive; unpack it';
  if (head.slice(4, 8) === 'TFL3') return 'a TensorFlow Lite model';
  if (/^\x80[\x02-\x05]/.test(head))
    return 'a Python pickle, which older versions of torch.save write: it can run code and is not opened; load it in Python and save it as safetensors';
  // ONNX is a protobuf whose first field is the version of its format, and whose second is a text or a nested message.
  if (/^\x08[\x01-\x20][\x12\x1a\x22\x2a\x3a\x42]/.test(head))
    return 'an ONNX model (or another protobuf); convert from the original';
  return textContent(start);
}

const sized = (bytes: string | undefined): string => (bytes === undefined ? '' : ` (${formatBytes(Number(bytes))})`);

function textContent(start: Uint8Array): string | undefined {
  if (start.length >= 2 && ((start[0] === 0xff && start[1] === 0xfe) || (start[0] === 0xfe && start[1] === 0xff)))
    return 'a text in UTF-16';
  // The length of a header is at most 100 MB, so that its last bytes are zero: text is something else.
  const text = new TextDecoder().decode(start.subarray(0, FOREIGN_BYTES)).replace(/^\ufeff/, '');
  const shown = text.trimStart();

  if (shown.length < 4 || /[\u0000-\u0008\u000e-\u001f\ufffd]/.test(text.slice(0, -4))) return undefined;
  if (/^<(?:!doctype html|html|head|body)\b/i.test(shown)) {
    const title = /<title[^>]*>([^<]{1,80})/i.exec(shown)?.[1]?.trim();
    return `a web page${title === undefined ? '' : ` (${quoteName(title)})`}: the download answered with a page, perhaps because access needs a login`;
  }
  if (
    /access|authenticat|unauthori|forbidden|denied|gated|restricted|invalid username|not found/i.test(
      shown.slice(0, 300),
    )
  )
    return `an answer of the server instead of the file: ${quoteName(shown.split('\n')[0]!.slice(0, 110))}; log in, ask for access, and download it again`;
  return `a text that begins ${quoteName(shown.split('\n')[0]!.slice(0, 60))}`;
}
