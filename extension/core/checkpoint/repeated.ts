/** One remark for a finding that many tensors share. */
import { formatInteger } from '../format';

interface Finding {
  readonly severity: string;
  readonly code: string;
  readonly message: string;
  readonly tensor?: string;
}

/** Up to this many of a kind are told one by one. */
const MOST_ALONE = 8;

/** The findings with those of one kind (code and severity) put into the first of them when there are many. */
export function collapseRepeated<T extends Finding>(findings: readonly T[]): T[] {
  const kinds = new Map<string, T[]>();
  const kindOf = ({ severity, code }: T): string => `${severity} ${code}`;
  for (const finding of findings) {
    if (finding.tensor === undefined) continue;
    const kind = kinds.get(kindOf(finding));
    if (kind) kind.push(finding);
    else kinds.set(kindOf(finding), [finding]);
  }
  return findings.flatMap(finding => {
    const kind = finding.tensor === undefined ? [finding] : kinds.get(kindOf(finding))!;
    if (kind.length <= MOST_ALONE) return [finding];
    if (kind[0] !== finding) return [];
    return [{ ...finding, message: `in ${formatInteger(kind.length)} tensors: first ${finding.message}` }];
  });
}
