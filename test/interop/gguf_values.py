"""FOLDER: writes FOLDER/values.gguf with random blocks of every type by the gguf package, and the values that the package
makes of each tensor to FOLDER/NAME.f32. q and k are permuted as llama.cpp's converter does. Prints [[name, type, rows, cols]]."""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

TYPES = (
    "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ1_S IQ1_M IQ4_NL IQ4_XS "
    "TQ1_0 TQ2_0 MXFP4 NVFP4"
).split()
HEADS, KV_HEADS, ROWS, COLS = 4, 2, 64, 512

folder = Path(sys.argv[1])
rng = np.random.default_rng(7)
writer = gguf.GGUFWriter(folder / "values.gguf", "llama")
writer.add_head_count(HEADS)
writer.add_head_count_kv(KV_HEADS)
listed = []


def blocks(kind):
    """Rows of random blocks whose values are finite."""
    weights, size = GGML_QUANT_SIZES[kind]
    wanted = ROWS * COLS // weights
    found = np.empty((0, size), np.uint8)
    while len(found) < wanted:
        tried = rng.integers(0, 256, (4 * wanted, size), dtype=np.uint8)
        with np.errstate(all="ignore"):
            values = gguf.quants.dequantize(tried, kind)
        found = np.concatenate([found, tried[np.isfinite(values).all(axis=1)]])
    return found[:wanted].reshape(ROWS, -1)


def add(name, data, kind, values):
    writer.add_tensor(name, data, raw_dtype=kind)
    values.astype(np.float32).tofile(folder / f"{name}.f32")
    listed.append([name, kind.name, *(values.shape if values.ndim == 2 else (1, len(values)))])


def unpermuted(values, heads):
    """The inverse of LlamaModel.permute in llama.cpp's conversion/llama.py."""
    return values.reshape(heads, -1, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


for index, label in enumerate(TYPES):
    kind = GGMLQuantizationType[label]
    data = blocks(kind)
    add(f"blk.{index}.ffn_up.weight", data, kind, gguf.quants.dequantize(data, kind))
for kind in (GGMLQuantizationType.F32, GGMLQuantizationType.F16, GGMLQuantizationType.BF16, GGMLQuantizationType.Q4_K):
    values = rng.standard_normal((ROWS, COLS)).astype(np.float32)
    data = blocks(kind) if kind == GGMLQuantizationType.Q4_K else gguf.quants.quantize(values, kind)
    values = gguf.quants.dequantize(data, kind)
    add(f"blk.{kind.value}.attn_q.weight", data, kind, unpermuted(values, HEADS))
    add(f"blk.{kind.value}.attn_k.weight", data, kind, unpermuted(values, KV_HEADS))
    add(f"blk.{kind.value}.attn_v.weight", data, kind, values)
bias = rng.standard_normal(ROWS).astype(np.float32)
add("blk.0.attn_q.bias", bias, GGMLQuantizationType.F32, unpermuted(bias, HEADS))

writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
print(json.dumps(listed))
