"""The sweep in PyTorch on CPU, as the reference implementation does an iteration: torch.svd_lowrank (rank + 10 columns, two
power iterations) and an eager NormalFloat quantiser. Reads a request as JSON from standard input, writes one JSON line a
matrix: its name, the seconds it took and the cost of every option."""

import json
import sys
import time

import torch
from safetensors.torch import load_file


def quantize(a, levels, thresholds, config):
    """a, flattened, under (b0, b1, b2, B0, B1); ragged tails are a short block and a short group."""
    _, b1, b2, block, group = config
    n = a.numel()
    flat = torch.nn.functional.pad(a.reshape(-1), (0, -n % block)).reshape(-1, block)
    absmax = flat.abs().amax(1)
    offset = absmax.min()
    t = torch.nn.functional.pad(absmax - offset, (0, -absmax.numel() % group)).reshape(-1, group)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[b2]
    v = t.amax(1, keepdim=True).to(dtype).float()
    top = 2**b1 - 1
    k = torch.where(v > 0, (t * top / v).round().clamp(0, top), torch.zeros_like(t))
    decoded = (offset + k * v / top).reshape(-1)[: absmax.numel(), None]
    quotient = torch.where(decoded > 0, flat / decoded, torch.zeros_like(flat))
    return (levels[torch.bucketize(quotient, thresholds)] * decoded).reshape(-1)[:n].reshape(a.shape)


def lq(w, config, levels, thresholds, rank, iterations, patience, oversampling, niter):
    """Squared error of the best iterate of the LQ iteration."""
    q = torch.zeros_like(w)
    best, since = float("inf"), 0
    for _ in range(iterations):
        u, s, v = torch.svd_lowrank(w - q, q=rank + oversampling, niter=niter)
        root = s[:rank].sqrt()
        low = (u[:, :rank] * root) @ (v[:, :rank] * root).T
        q = quantize(w - low, levels, thresholds, config)
        error = float(((w - q - low) ** 2).sum())
        if error < best:
            best, since = error, 0
        else:
            since += 1
            if since >= patience:
                break
    return best


def main():
    request = json.load(sys.stdin)
    torch.manual_seed(0)
    torch.set_num_threads(request["threads"])
    books = {int(bits): torch.tensor(levels) for bits, levels in request["books"].items()}
    files = {}
    for matrix in request["matrices"]:
        files.setdefault(matrix["file"], load_file(matrix["file"]))
        w = files[matrix["file"]][matrix["name"]].float()
        start = time.perf_counter()
        costs = []
        for config in request["options"]:
            levels = books[config[0]]
            thresholds = (levels[1:] + levels[:-1]) / 2
            costs.append(lq(w, config, levels, thresholds, request["rank"], request["iterations"], request["patience"],
                            request["oversampling"], request["powerIterations"]))
        print(json.dumps({"name": matrix["name"], "seconds": time.perf_counter() - start, "costs": costs}), flush=True)


main()
