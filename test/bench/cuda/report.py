"""Table of our iteration beside PyTorch's step, and what a sweep of LLaMA-2-7B's shapes takes, from the two JSON files."""

import json
import sys

ours, torch = (json.load(open(path)) for path in sys.argv[1:3])
reference = {(row["rows"], row["cols"]): row["us"] for row in torch["step"]}
bandwidth = torch["copy_bytes_per_second"]
print(f"{ours['device']}: device copies at {bandwidth / 1e12:.2f} TB/s (bytes read and written)")
print(f"{'shape':>12} {'PyTorch':>10} {'alone':>10} {'ratio':>7} {'of many':>10} {'ratio':>7} {'bytes/bw':>10}")
for row in ours["step"]:
    rows, cols = row["rows"], row["cols"]
    step = reference[rows, cols]
    # bf16 weights read twice, fp16 residual written once and read twice.
    floor = rows * cols * 2 * 5 / bandwidth * 1e6
    many = row["together_us"]
    shared = f"{many:8.1f}us {step / many:6.1f}x" if many else f"{'':>10} {'':>7}"
    alone = row["alone_us"]
    print(f"{rows:>6}x{cols:<5} {step:8.1f}us {alone:8.1f}us {step / alone:6.1f}x {shared} {floor:8.1f}us")
for patience in (1, 3):
    runs = {(row["rows"], row["cols"]): row for row in ours["sweep"] if row["patience"] == patience}
    if not runs:
        continue
    # 32 blocks: q, k, v, o are 4096 x 4096; gate, up and down 11008 x 4096 or its transpose.
    square, tall = runs[4096, 4096], runs[11008, 4096]
    seconds = 32 * (4 * square["seconds"] + 3 * tall["seconds"])
    iterations = 32 * (4 * square["iterations"] * reference[4096, 4096] + 3 * tall["iterations"] * reference[11008, 4096])
    print(f"LLaMA-2-7B's 224 shapes x 243 options, rank 64, T = 100, patience {patience}: {seconds:.0f} s extrapolated from "
          f"one matrix of each shape; PyTorch's steps for as many iterations {iterations * 1e-6 / 3600:.1f} h")
