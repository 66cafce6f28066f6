#!/usr/bin/env bash
# Builds the CUDA backend on a machine with an NVIDIA GPU, proves it right, then measures it beside PyTorch's step.
#   OPENBLAS_ROOT=DIR  OUT=DIR  test/bench/cuda/run.sh [--quick]
# Needs nvcc 13, cmake, ninja, compute-sanitizer and a python3 with PyTorch; OPENBLAS_ROOT has include/ and lib/ of
# scipy-openblas32 for the conformance suite. Results go to OUT (default: build/cuda-bench).
set -euo pipefail
cd "$(dirname "$0")/../../.."
: "${OPENBLAS_ROOT:?folder of scipy-openblas32}"
build=build/cuda-bench
out=${OUT:-$build}
mkdir -p "$build" "$out"
toolkit=$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)

echo "== Building"
{
  cmake -S native/cuda -B $build/cuda -G Ninja "-DLQ_CUDA_TOOLKIT=$toolkit" "-DLQ_CUDA_ARCHITECTURES=$capability"
  cmake --build $build/cuda
  cmake -S native -B $build/native -G Ninja -DLQ_ADDON=OFF "-DOPENBLAS_ROOT=$OPENBLAS_ROOT"
  cmake --build $build/native
  cmake -S test/bench/cuda -B $build/bench -G Ninja
  cmake --build $build/bench
} > "$out/build.log" 2>&1 || { tail -40 "$out/build.log"; exit 1; }
library=$build/cuda/liblq_cuda.so
bench=$build/bench/lq_cuda_bench
conformance=("$build/native/contract/lq_conformance" --device cuda:0 --library "$library")

echo "== Conformance"
"${conformance[@]}" > "$out/conformance.log" || echo "not all passed"
tail -40 "$out/conformance.log"
for tool in memcheck initcheck; do
  echo "== compute-sanitizer $tool, conformance"
  compute-sanitizer --tool $tool --error-exitcode 9 "${conformance[@]}" > "$out/$tool.log" 2>&1 || true
  grep -E "passed|SUMMARY" "$out/$tool.log" || tail -5 "$out/$tool.log"
done
# It does not get through the whole suite in minutes, so it follows the iteration alone.
echo "== compute-sanitizer racecheck, two iterations"
timeout 300 compute-sanitizer --tool racecheck --error-exitcode 9 $bench $library --race > "$out/racecheck.log" 2>&1 || true
grep -E "SUMMARY" "$out/racecheck.log" || tail -5 "$out/racecheck.log"

echo "== A device that is nearly full"
python3 test/bench/cuda/scarce.py $bench $library | tee "$out/scarce.log"

echo "== Benchmark"
$bench $library "$@" > "$out/ours.json" 2> >(tee "$out/bench.log" >&2)
python3 test/bench/cuda/torch_step.py "$@" > "$out/torch.json"
python3 test/bench/cuda/report.py "$out/ours.json" "$out/torch.json" | tee "$out/report.txt"
