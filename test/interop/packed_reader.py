"""Reads a packed LQ checkpoint with numpy alone, as extension/core/packed/FORMAT.md describes it."""

import json
from pathlib import Path

import numpy as np

FIELDS = {"F32": "<f4", "F16": "<f2", "U8": "u1"}
FACTOR_CONFIG = {"b0": 8, "b1": 8, "B0": 64, "B1": 256}


def floats(tensor):
    """A stored tensor, (dtype, shape, bytes), as fp32."""
    dtype, shape, data = tensor
    if dtype == "BF16":
        values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(data, FIELDS[dtype]).astype(np.float32)
    return values.reshape(shape)


def fields(tensor, bits, count):
    """`count` integers of `bits` bits, lowest bits first."""
    stream = np.unpackbits(np.frombuffer(tensor[2], np.uint8), bitorder="little")
    stream = stream[: count * bits].reshape(count, bits)
    return stream @ (1 << np.arange(bits))


def quantized(tensors, prefix, levels, config, count):
    blocks = -(-count // config["B0"])
    k = fields(tensors[f"{prefix}.scales"], config["b1"], blocks).astype(np.float32)
    v = floats(tensors[f"{prefix}.groups"])[np.arange(blocks) // config["B1"]]
    scale = floats(tensors[f"{prefix}.offset"])[0] + k * v / np.float32(2 ** config["b1"] - 1)
    codes = fields(tensors[f"{prefix}.codes"], config["b0"], count)
    return np.asarray(levels, np.float32)[codes] * scale[np.arange(count) // config["B0"]]


def read_file(path):
    """Stored tensors by name, and the description."""
    content = Path(path).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    metadata = header.pop("__metadata__")
    assert metadata["format"] == "lq-studio"
    tensors = {
        name: (entry["dtype"], entry["shape"], content[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]])
        for name, entry in header.items()
    }
    return tensors, json.loads(metadata["lq_studio"])


def read(folder):
    """(packed, kept): matrices decoded to fp32 and all other tensors, by name."""
    packed, kept = {}, {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        tensors, description = read_file(path)
        assert description["version"] == 1
        books, factors = description["books"], description["factors"]

        def factor(name, shape):
            if factors != "nf8":
                return floats(tensors[name])
            return quantized(tensors, name, books["nf8"], FACTOR_CONFIG, shape[0] * shape[1]).reshape(shape)

        for name, matrix in description["matrices"].items():
            rows, cols = matrix["shape"]
            option = matrix["option"]
            config, rank = option["config"], option["rank"]
            levels = books[f"{option['book']}{config['b0']}"]
            value = quantized(tensors, f"{name}.lq", levels, config, rows * cols).reshape(rows, cols)
            if rank > 0:
                value = value + factor(f"{name}.lq.l1", [rows, rank]) @ factor(f"{name}.lq.l2", [rank, cols])
            packed[name] = value
        kept.update({name: tensor for name, tensor in tensors.items() if ".lq." not in name})
    return packed, kept
