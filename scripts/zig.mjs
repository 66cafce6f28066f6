// The portable toolchain: zig carries a clang, a linker and the stubs of every glibc, which is what lets a new system build
// for an old one.
import path from 'node:path';
import { deps } from './lib.mjs';
import { unpackWheels } from './python.mjs';

/** Fetches zig from PyPI unless it is there; returns the path of its binary. */
export function zig() {
  const wheel = path.join(deps, 'zig');
  unpackWheels(wheel, ['ziglang==0.16.0']);
  return path.join(wheel, 'ziglang', 'zig');
}
