/** What the details show before a tensor is selected: where the parameters are. */
import { useMemo } from 'preact/hooks';
import type { CheckpointView } from '../../extension/protocol/panels';
import { Figure } from '../shared/Figure';
import { formatBytes, formatCount } from '../../extension/core/format';
import type { CheckpointHost } from './host';

export function Overview({ host, view }: { host: CheckpointHost; view: CheckpointView }) {
  const groups = useMemo(() => {
    const byRole = new Map<string, { tensors: number; parameters: number; bytes: number }>();
    for (const row of view.rows) {
      const group = byRole.get(row.role) ?? { tensors: 0, parameters: 0, bytes: 0 };
      group.tensors += 1;
      group.parameters += row.parameters;
      group.bytes += row.bytes;
      byRole.set(row.role, group);
    }
    return [...byRole].map(([role, group]) => ({ role, ...group })).sort((a, b) => b.bytes - a.bytes);
  }, [view]);
  const total = groups.reduce((sum, group) => sum + group.bytes, 0) || 1;
  return (
    <div class="detail">
      <Figure
        host={host}
        title="Where the bytes are"
        label="Bytes by role"
        data={{
          name: `${view.header.label}-roles`,
          columns: ['role', 'tensors', 'parameters', 'bytes'],
          rows: groups.map(group => [group.role, group.tensors, group.parameters, group.bytes]),
        }}
      >
        <table class="parts">
          <thead>
            <tr>
              <th scope="col">Role</th>
              <th scope="col" class="end">
                Tensors
              </th>
              <th scope="col" class="end">
                Parameters
              </th>
              <th scope="col" class="end">
                Size
              </th>
              <th scope="col">Share</th>
            </tr>
          </thead>
          <tbody>
            {groups.map(group => (
              <tr key={group.role}>
                <td>{group.role}</td>
                <td class="end">{group.tensors.toLocaleString('en-US')}</td>
                <td class="end">{formatCount(group.parameters)}</td>
                <td class="end">{formatBytes(group.bytes)}</td>
                <td class="share">
                  <div class="bar">
                    <span style={{ width: `${(100 * group.bytes) / total}%` }} />
                  </div>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Figure>
      <p class="muted">Select a tensor for its statistics, spectrum and a picture of its weights.</p>
    </div>
  );
}
