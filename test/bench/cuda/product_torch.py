"""PyTorch's dense bf16 linear layer on the shapes of product_bench.cc. Prints a table of microseconds a product."""

import statistics

import torch

PRODUCTS, SAMPLES = 24, 9
TOKENS = [2**k for k in range(13)]


def microseconds(weights, x):
    times = []
    for _ in range(3):
        torch.nn.functional.linear(x, weights[0])
    for _ in range(SAMPLES):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        # The device sleeps until everything is launched, so that the host's speed does not matter.
        torch.cuda._sleep(2_000_000)
        begin.record()
        for i in range(PRODUCTS):
            torch.nn.functional.linear(x, weights[i % len(weights)])
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e3 / PRODUCTS)
    return statistics.median(times)


def main():
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}\n")
    print("| rows x columns | weights | " + " | ".join(map(str, TOKENS)) + " |")
    print("| --- | --- |" + " ---: |" * len(TOKENS))
    for rows, cols in [(4096, 4096), (11008, 4096), (4096, 11008)]:
        # Enough copies that no cache has a weight when its turn comes.
        copies = 2**28 // (rows * cols * 2) + 1
        weights = [torch.randn(rows, cols, device="cuda", dtype=torch.bfloat16) * 0.02 for _ in range(copies)]
        cells = [microseconds(weights, torch.randn(n, cols, device="cuda", dtype=torch.bfloat16)) for n in TOKENS]
        print(f"| {rows} x {cols} | PyTorch bf16 | " + " | ".join(f"{us:.1f}" for us in cells) + " |")


main()
