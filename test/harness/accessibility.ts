/** axe-core inside a panel's frame. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type axe from 'axe-core';
import type { Frame } from 'playwright-core';

const source = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Violations of serious or critical impact, one line each, with the first offending element. */
export async function seriousViolations(frame: Frame): Promise<string[]> {
  await frame.evaluate(source);
  const results = await frame.evaluate(() =>
    // Only violations are looked at, and gathering the rest takes as long again.
    (globalThis as unknown as { axe: typeof axe }).axe.run(document, { resultTypes: ['violations'] }),
  );
  return results.violations
    .filter(each => each.impact === 'serious' || each.impact === 'critical')
    .map(each => `${each.id}: ${each.help} (${each.nodes.length}x, ${each.nodes[0]?.html.slice(0, 160) ?? ''})`);
}
