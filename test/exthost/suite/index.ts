/** Entry that the extension host calls: runs the compiled tests beside it with mocha and writes report.json. */
import { readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import Mocha from 'mocha';
import type { HostTest } from '../inside';

export function run(): Promise<void> {
  const mocha = new Mocha({ ui: 'bdd', timeout: 60_000, reporter: 'min' });
  for (const file of readdirSync(__dirname)) if (file.endsWith('.test.js')) mocha.addFile(path.join(__dirname, file));
  const tests: HostTest[] = [];
  return new Promise(resolve => {
    mocha
      .run(() => {
        writeFileSync(path.join(__dirname, 'report.json'), JSON.stringify(tests));
        resolve();
      })
      .on('pass', test => tests.push({ title: test.fullTitle() }))
      .on('fail', (test, error: Error) => tests.push({ title: test.fullTitle(), error: error.stack ?? error.message }));
  });
}
