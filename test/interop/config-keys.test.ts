/** Every key that transformers writes into config.json of a family is honoured or known to change nothing. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { expect, it } from 'vitest';
import { COMMON_KEYS, INERT_KEYS } from '../../extension/core/evaluation/families/keys';
import { FAMILIES } from '../../extension/core/evaluation/families/registry';

const families = [...FAMILIES.values()];
const script = `
import json, sys
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
print(json.dumps({name: list(CONFIG_MAPPING[name]().to_dict()) for name in json.load(sys.stdin)}))`;
const written = JSON.parse(
  execFileSync(path.resolve('.deps/venv/bin/python'), ['-c', script], {
    input: JSON.stringify(families.map(({ type }) => type)),
    stdio: ['pipe', 'pipe', 'ignore'],
  }).toString(),
) as Record<string, string[]>;

it.each(families.map(family => [family.type, family] as const))('%s', (type, family) => {
  const known = new Set([...COMMON_KEYS, ...INERT_KEYS, ...family.keys, ...Object.values(family.aliases ?? {})]);
  expect(written[type]!.filter(key => !known.has(key))).toEqual([]);
});
