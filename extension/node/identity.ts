/** Who this process is to others that share its folders. */
import { randomBytes } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import type { ProcessIdentity } from '../core/files/types';

const DEFAULT_CLAIM_TIMEOUT_S = 60;

const readable = (read: () => string): string => {
  try {
    return read().trim();
  } catch {
    return '';
  }
};

const host = hostname();
/** Linux names the boot and the pid namespace: containers of one host do not see each other's processes. */
const boot = readable(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8'));
const namespace = readable(() => readlinkSync('/proc/self/ns/pid'));

export const identity: ProcessIdentity = {
  id: `${host.replace(/[^\w-]/g, '_').slice(0, 40)}-${process.pid}-${randomBytes(4).toString('hex')}`,
  host,
  space: `${host} ${boot} ${namespace}`,
  pid: process.pid,
  alive(pid) {
    try {
      process.kill(pid, 0);
      return true;
    } catch (error) {
      return error instanceof Error && 'code' in error && error.code === 'EPERM';
    }
  },
};

/** Milliseconds of silence after which another's claim is taken over; $LQ_STUDIO_CLAIM_TIMEOUT gives it in seconds. */
export function claimTimeout(environment: NodeJS.ProcessEnv = process.env): number {
  const given = Number(environment['LQ_STUDIO_CLAIM_TIMEOUT']);
  return 1000 * (given > 0 ? given : DEFAULT_CLAIM_TIMEOUT_S);
}
