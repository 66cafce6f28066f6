"""A sweep on a device that somebody else has nearly filled: with less memory the same costs, with next to none a clear error.

    python3 test/bench/cuda/scarce.py BENCH LIBRARY
"""

import subprocess
import sys

import torch

DEVICE_MEMORY = 5  # StatusCode::device_memory
MIB = 2**20


def sweep():
    return subprocess.run([*sys.argv[1:3], "--scarce"], check=True, capture_output=True, text=True).stdout


def main():
    plenty = sweep()
    assert len(plenty.splitlines()) > 1, plenty
    held = []
    # A context of its own takes some 500 MiB.
    for left in (2500, 1200):
        while (free := torch.cuda.mem_get_info()[0]) > (left + 64) * MIB:
            held.append(torch.empty(min(1024 * MIB, free - left * MIB), dtype=torch.uint8, device="cuda"))
        little = sweep()
        assert little == plenty, f"with {left} MiB left: {little[:300]}"
        print(f"the same costs with {left} MiB left")
    while (free := torch.cuda.mem_get_info()[0]) > 664 * MIB:
        held.append(torch.empty(free - 600 * MIB, dtype=torch.uint8, device="cuda"))
    said = sweep()
    assert said.startswith(f"status {DEVICE_MEMORY}:"), said
    print(f"with 600 MiB left: {said.strip()}")


main()
