import path from 'node:path';
import { Linter, type Rule } from 'eslint';
import { parser } from 'typescript-eslint';
import { describe, expect, it } from 'vitest';

const rule = new URL('../../../scripts/lint/boundaries.mjs', import.meta.url);
const { boundaries } = (await import(rule.href)) as { boundaries: Rule.RuleModule };

/** What the rule says about one line of code in a file of the repository. */
function complaints(file: string, code: string): string[] {
  const cwd = path.resolve('/repository');
  const linter = new Linter({ cwd });
  const config: Linter.Config = {
    files: ['**/*.ts'],
    languageOptions: { parser: parser },
    plugins: { lq: { rules: { boundaries } } },
    rules: { 'lq/boundaries': 'error' },
  };
  return linter.verify(code, [config], { filename: path.join(cwd, file) }).map(each => each.message);
}

describe('import boundaries', () => {
  it.each([
    ['extension/core/pipeline.ts', `import { readFile } from 'node:fs/promises';`],
    ['extension/core/pipeline.ts', `import fs = require('fs'); fs;`],
    ['extension/core/pipeline.ts', `import * as vscode from 'vscode';`],
    ['extension/core/pipeline.ts', `import { load } from '../engine/load';`],
    ['extension/core/native.ts', `import type { Option } from './options/types';`],
    ['extension/core/checkpoint/types.ts', `import { readPacked } from '../packed/reader';`],
    ['extension/core/pipeline.ts', `import type { Progress } from '../protocol/engine';`],
    ['extension/core/export/packed.ts', `const files = await import('../../node/files');`],
    ['extension/core/pipeline.ts', `export { load } from '../engine/load';`],
    ['extension/core/pipeline.ts', `import { start } from '../protocol/channel';`],
    ['extension/protocol/engine.ts', `import { plan } from '../core/allocation/plan';`],
    ['extension/cli/main.ts', `import { createServer } from '../engine/server';`],
    ['extension/cli/main.ts', `import * as vscode from 'vscode';`],
    ['extension/host/tree.ts', `import { load } from '../engine/load';`],
    ['webview/heatmap/main.tsx', `import { plan } from '../../extension/core/allocation/plan';`],
    ['webview/heatmap/main.tsx', `import { openCheckpoint } from '../../extension/node/files';`],
    ['webview/heatmap/main.tsx', `import React from 'react';`],
  ])('%s may not contain: %s', (file, code) => {
    expect(complaints(file.replace('.tsx', '.ts'), code)).toHaveLength(1);
  });

  it.each([
    ['extension/core/pipeline.ts', `import { plan } from './allocation/plan';`],
    ['extension/core/pipeline.ts', `import type { NativeModule } from './native';`],
    ['extension/core/packed/reader.ts', `import type { Option } from '../options/types';`],
    ['extension/protocol/engine.ts', `import { type Progress } from '../core/progress';`],
    ['extension/engine/main.ts', `import { createMessageConnection } from 'vscode-jsonrpc/node';`],
    ['extension/cli/main.ts', `import { startEngine } from '../engine/client';`],
    ['extension/host/tree.ts', `import * as vscode from 'vscode'; import { join } from 'node:path';`],
    ['webview/heatmap/main.ts', `import type { Plan } from '../../extension/core/allocation/types';`],
    ['webview/heatmap/main.ts', `import { formatBytes } from '../../extension/core/format';`],
    ['test/unit/anything.test.ts', `import { load } from '../../extension/engine/load';`],
  ])('%s may contain: %s', (file, code) => {
    expect(complaints(file, code)).toEqual([]);
  });
});
