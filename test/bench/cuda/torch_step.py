"""PyTorch's step of the LQ iteration, as the reference implementation does it: torch.svd_lowrank with tf32 products and a
compiled NormalFloat quantiser. Prints the seconds a step takes as JSON; the median of several."""

import json
import statistics
import sys

import torch

torch.backends.cuda.matmul.allow_tf32 = True
OFFSET = 0.9677083


def book(bits):
    half = 2 ** (bits - 1)
    p = torch.cat([torch.linspace(1 - OFFSET, 0.5, half, dtype=torch.float64)[:-1],
                   torch.linspace(0.5, OFFSET, half + 1, dtype=torch.float64)])
    levels = torch.special.ndtri(p) / torch.special.ndtri(torch.tensor(OFFSET, dtype=torch.float64))
    return levels.float().cuda()


@torch.compile
def quantize(a, thresholds, levels, b1: int, block: int, group: int):
    blocks = a.reshape(-1, block)
    s = blocks.abs().amax(1)
    offset = s.min()
    t = (s - offset).reshape(-1, group)
    v = t.amax(1, keepdim=True)
    top = 2**b1 - 1
    k = (t * top / v).round().clamp(0, top)
    decoded = (offset + k * v / top).reshape(-1, 1)
    return (levels[torch.bucketize(blocks / decoded, thresholds)] * decoded).reshape(a.shape)


def step(w, q, levels, thresholds, rank=64, oversampling=10):
    u, s, v = torch.svd_lowrank(w - q, q=rank + oversampling, niter=2)
    root = s[:rank].sqrt()
    low = (u[:, :rank] * root) @ (v[:, :rank] * root).T
    quantized = quantize(w - low, thresholds, levels, 4, 64, 64)
    return quantized, torch.linalg.norm(w - quantized - low)


def main():
    levels = book(3)
    thresholds = (levels[1:] + levels[:-1]) / 2
    out = []
    shapes = [(4096, 4096), (11008, 4096)] + ([] if "--quick" in sys.argv else [(8192, 8192), (28672, 8192)])
    for rows, cols in shapes:
        torch.manual_seed(0)
        w = torch.randn(rows, cols, device="cuda") * 0.02
        q = torch.zeros_like(w)
        for _ in range(4):
            q, error = step(w, q, levels, thresholds)
        times = []
        for _ in range(12):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            q, error = step(w, q, levels, thresholds)
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) * 1e3)
        print(f"{rows}x{cols}: PyTorch's step {statistics.median(times):.1f} us", file=sys.stderr)
        out.append({"rows": rows, "cols": cols, "us": statistics.median(times)})
    a = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    b.copy_(a)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(10):
        b.copy_(a)
    end.record()
    end.synchronize()
    bandwidth = 10 * 2 * 2**30 / (begin.elapsed_time(end) * 1e-3)
    print(json.dumps({"step": out, "copy_bytes_per_second": bandwidth}))


main()
