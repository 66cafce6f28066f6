"""A language model on a device that somebody else has nearly filled, so that its blocks are brought from the host: the same losses,
and how fast.

    python3 test/bench/cuda/lm_scarce.py BENCH LIBRARY FOLDER GIB      of lm_torch.py's folder, with so many GiB left
"""

import subprocess
import sys

import torch

GIB = 2**30


def main():
    bench, library, folder, left = sys.argv[1:5]
    wanted = float(left) * GIB
    held = []
    while (free := torch.cuda.mem_get_info()[0]) > wanted + GIB / 16:
        held.append(torch.empty(int(min(4 * GIB, free - wanted)), dtype=torch.uint8, device="cuda"))
    print(f"{torch.cuda.mem_get_info()[0] / GIB:.2f} GiB left", file=sys.stderr)
    sys.exit(subprocess.run([bench, library, folder, "--forward"]).returncode)


main()
