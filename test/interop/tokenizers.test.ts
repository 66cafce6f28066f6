/** Every part a tokenizer.json can have, against the Rust library from Python: the same ids, or both fail. */
import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { TextTokenizer } from '../../extension/core/evaluation/tokenizer';
import { loadNative } from '../../extension/engine/load';
import { nodeFiles } from '../../extension/node/files';

const folder = mkdtempSync(path.join(tmpdir(), 'lq-tokenizers-'));
const host = { files: nodeFiles, native: loadNative(path.resolve('dist/native')) };
let cases: { texts: string[]; ids: Record<string, (number[] | null)[]> };

beforeAll(async () => {
  const python = path.resolve('.deps/venv/bin/python');
  await promisify(execFile)(python, [path.resolve('test/interop/tokenizer_cases.py'), folder]);
  cases = JSON.parse(readFileSync(path.join(folder, 'cases.json'), 'utf8')) as typeof cases;
});
afterAll(() => rmSync(folder, { recursive: true }));

it('tokenizers of every part give the ids of the Rust library', async () => {
  const wrong: string[] = [];
  let compared = 0;
  for (const [name, expected] of Object.entries(cases.ids)) {
    const model = path.join(folder, name);
    mkdirSync(model);
    copyFileSync(`${model}.json`, path.join(model, 'tokenizer.json'));
    const tokenizer = await TextTokenizer.load(host, model);
    for (const [i, text] of cases.texts.entries()) {
      compared++;
      const ours = await tokenizer.encode(text).then(
        ids => ids.join(),
        (error: unknown) => (error as { code?: string }).code,
      );
      const theirs = expected[i]?.join() ?? 'tokenizer';
      if (ours !== theirs) wrong.push(`${name}, ${JSON.stringify(text)}: ${ours} where Rust has ${theirs}`);
    }
  }
  expect(wrong).toEqual([]);
  expect(compared).toBeGreaterThan(900);
  // The failures are few: they are compared too, but prove little.
  expect(
    Object.values(cases.ids)
      .flat()
      .filter(ids => ids === null).length,
  ).toBeLessThan(60);
});
