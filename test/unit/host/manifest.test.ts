import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';

interface Command {
  command: string;
  title: string;
  category?: string;
  icon?: string;
  enablement?: string;
}
const root = path.resolve(import.meta.dirname, '..', '..', '..');
const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
const commands: Command[] = manifest.contributes.commands;
const menus: Record<string, { command?: string; submenu?: string }[]> = manifest.contributes.menus;

describe('the manifest', () => {
  it('gives every command a category, an icon and a title', () => {
    for (const { command, title, category, icon } of commands) {
      expect([command, category]).toEqual([command, 'LQ Studio']);
      expect(icon, command).toMatch(/^\$\([\w-]+\)$/);
      expect(title).not.toBe('');
    }
  });

  it('offers only commands that exist', () => {
    const known = new Set(commands.map(each => each.command));
    const offered = Object.values(menus).flatMap(items => items.flatMap(item => item.command ?? []));
    expect(offered.filter(command => !known.has(command))).toEqual([]);
  });

  it('keeps what computes out of untrusted workspaces', () => {
    for (const name of [
      'compress',
      'evaluate',
      'export',
      'compare',
      'checkHealth',
      'computeStatistics',
      'restartEngine',
    ]) {
      const enablement = commands.find(each => each.command === `lqStudio.${name}`)?.enablement ?? '';
      expect([name, enablement.includes('isWorkspaceTrusted')]).toEqual([
        name,
        name !== 'compare' && name !== 'checkHealth',
      ]);
    }
    expect(manifest.capabilities.untrustedWorkspaces.supported).toBe('limited');
    expect(manifest.capabilities.virtualWorkspaces.supported).toBe('limited');
    expect(manifest.extensionKind).toEqual(['workspace']);
  });

  it('names files that are there', () => {
    const steps: { media: { markdown: string } }[] = manifest.contributes.walkthroughs[0].steps;
    const containers: { icon: string }[] = manifest.contributes.viewsContainers.activitybar;
    const icons = containers.map(each => each.icon);
    for (const file of [manifest.icon, ...icons, ...steps.map(step => step.media.markdown)])
      expect([file, existsSync(path.join(root, file))]).toEqual([file, true]);
  });
});
