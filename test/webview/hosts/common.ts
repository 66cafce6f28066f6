/** Hosts that answer as the real one would, from fixtures. Each test may replace single answers. */
import type { Handlers } from '../../../extension/protocol/channel';
import type { CommonRequests } from '../../../extension/protocol/panels';

/** Fixed, so that screenshots of equal panels are equal. */
export const TODAY = Date.UTC(2026, 4, 12, 9, 30);

export const common: Handlers<CommonRequests> = {
  save: ({ name }) => ({ path: `/home/me/${name}` }),
  copy: () => null,
  copyCommand: command => ({ text: `lq-studio ${command.command}` }),
  navigate: () => null,
  selected: () => null,
  openPath: () => null,
  pick: ({ what }) => ({ path: `/data/${what}.txt` }),
  jobs: () => [],
  cancelJob: () => null,
  resumeJob: () => null,
  removeJob: () => null,
};
