#!/usr/bin/env bash
# The main job on a checkpoint of LLaMA-2-7B's shapes, from disk to packed checkpoint: 224 matrices, 243 configurations,
# rank 64, T = 100 with the stop rule, 2.75 bits. Then PyTorch's time for as many steps, from steps measured here.
#   FOLDER=DIR test/bench/cuda/model_7b.sh [DEVICE] [PATIENCE]
# DIR gets 16 GB and the results; DEVICE: cuda:0, or cuda for all; PATIENCE: 4, or 1 for the paper's stop rule.
# Needs Node, a python3 with PyTorch and safetensors, and dist/ built with the CUDA backend.
set -euo pipefail
cd "$(dirname "$0")/../../.."
: "${FOLDER:?where to write}"
device=${1:-cuda}
patience=${2:-4}
model=$FOLDER/llama-7b-shaped
[ -f "$model/config.json" ] || python3 test/bench/cuda/checkpoint_7b.py "$model"
rm -rf "$FOLDER/packed" "$FOLDER/cache-7b"
common=(--method lq-lora --plain --rank 64 --device "$device" --patience "$patience" --cache "$FOLDER/cache-7b")
node dist/cli.js sweep "$model" "${common[@]}" --out "$FOLDER/sweep-7b.json"
# Finds the sweep's costs in the cache: what it takes is the rest of the job.
started=$SECONDS
node dist/cli.js compress "$model" "${common[@]}" --out "$FOLDER/packed" --bits 2.75 --json > "$FOLDER/compress-7b.json"
echo "plan, decompose and write, with start and finding the costs again: $((SECONDS - started)) s"
[ -f "$FOLDER/torch.json" ] || python3 test/bench/cuda/torch_step.py --quick > "$FOLDER/torch.json"
python3 - "$FOLDER" <<'PY'
import json, sys
folder = sys.argv[1]
report, sweep, torch = (json.load(open(f"{folder}/{name}.json")) for name in ("compress-7b", "sweep-7b", "torch"))
step = {(row["rows"], row["cols"]): row["us"] for row in torch["step"]}
steps, micros = 0, 0.0
for row in sweep["matrices"]:
    iterations = sum(row["iterations"])
    steps += iterations
    # The transposed shape takes as long.
    micros += iterations * step[max(row["rows"], row["cols"]), min(row["rows"], row["cols"])]
print(f"sweep {sweep['seconds']:.1f} s on {sweep['device']}; {len(sweep['matrices'])} matrices x {len(sweep['options'])} options, {steps} iterations")
for stage, seconds in report["seconds"].items():
    print(f"{stage + ' (in compress)':>24} {seconds:8.1f} s")
print(f"PyTorch's steps for as many iterations, extrapolated from its step times: {micros * 1e-6 / 3600:.2f} h, "
      f"{micros * 1e-6 / sweep['seconds']:.0f} times the sweep")
PY
du -sh "$model" "$FOLDER/packed"
