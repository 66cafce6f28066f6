/**
 * Runs `suite/*.ts` with mocha inside the real extension host and hands back what happened. The host is a remote one: the
 * page only asks for it, and the report comes back as a file.
 */
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { build } from 'esbuild';
import { launchBrowser } from '../harness/browser';
import { writeAdapter } from '../harness/checkpoints';
import { makeWorkspace, repository, sampleModel, startServer } from '../harness/server';

export interface HostTest {
  title: string;
  /** Stack of the failure; absent when the test passed. */
  error?: string;
}

const TIMEOUT_MS = 180_000;
const compiled = path.join(repository, 'build', 'exthost');

async function compileSuite(): Promise<string> {
  const suite = path.join(import.meta.dirname, 'suite');
  rmSync(compiled, { recursive: true, force: true });
  await build({
    entryPoints: readdirSync(suite).map(file => path.join(suite, file)),
    outdir: compiled,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    external: ['vscode', 'mocha'],
  });
  return path.join(compiled, 'index.js');
}

/** Asks a page for an extension host that runs `entry` with the repository as the extension under development. */
async function runInHost(entry: string, workspace: string): Promise<void> {
  const server = await startServer({ testDriver: true });
  const browser = await launchBrowser();
  try {
    const page = await browser.newPage();
    const ended = new Promise<void>(resolve => void page.exposeFunction('codeAutomationExit', () => resolve()));
    await page.exposeFunction('codeAutomationLog', () => undefined);
    const authority = new URL(server.url).host;
    const remote = (file: string) => `vscode-remote://${authority}${file}`;
    const payload = [
      ['extensionDevelopmentPath', remote(repository)],
      ['extensionTestsPath', remote(entry)],
      ['skipWelcome', 'true'],
    ];
    await page.goto(`${server.url}/?workspace=${workspace}&payload=${encodeURIComponent(JSON.stringify(payload))}`);
    await Promise.race([ended, new Promise(resolve => setTimeout(resolve, TIMEOUT_MS))]);
  } finally {
    await browser.close();
    await server.stop();
  }
}

export async function runSuiteInHost(): Promise<HostTest[]> {
  const entry = await compileSuite();
  // Two folders, as workspaces may have; the tests know the first as theirs.
  const [first, second] = [makeWorkspace([sampleModel]), makeWorkspace([])];
  writeAdapter(path.join(second, 'adapter'));
  const workspace = path.join(second, 'two.code-workspace');
  writeFileSync(workspace, JSON.stringify({ folders: [{ path: first }, { path: second }] }));
  await runInHost(entry, workspace);
  for (const folder of [first, second]) rmSync(folder, { recursive: true, force: true });
  const report = path.join(compiled, 'report.json');
  if (!existsSync(report)) throw new Error(`No report from the extension host within ${TIMEOUT_MS / 1000} s`);
  return JSON.parse(readFileSync(report, 'utf8')) as HostTest[];
}
