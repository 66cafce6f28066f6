"""Reads a packed LQ checkpoint with numpy alone, as extension/core/packed/FORMAT.md describes it: every weight in fp32, bit for bit."""

import json
import math
from functools import lru_cache
from pathlib import Path

import numpy as np

F32 = np.float32
FIELDS = {"F32": "<f4", "F16": "<f2", "U8": "u1"}
FACTOR_CONFIG = {"b0": 8, "b1": 8, "B0": 64, "B1": 256}
FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], F32)
TILE = 16


def floats(tensor):
    """A stored tensor, (dtype, shape, bytes), as fp32."""
    dtype, shape, data = tensor
    if dtype == "BF16":
        values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(F32)
    else:
        values = np.frombuffer(data, FIELDS[dtype]).astype(F32)
    return values.reshape(shape)


def bits_of(tensor):
    return np.unpackbits(np.frombuffer(tensor[2], np.uint8), bitorder="little")


def fields(tensor, bits, count):
    """`count` integers of `bits` bits, lowest bits first."""
    return bits_of(tensor)[: count * bits].reshape(count, bits) @ (1 << np.arange(bits))


def two_level(part, count, s):
    """The scale of every one of `count` weights."""
    blocks = -(-count // s["B0"])
    k = fields(part("scales"), s["b1"], blocks).astype(F32)
    v = floats(part("groups"))[np.arange(blocks) // s["B1"]]
    scale = floats(part("offset"))[0] + k * v / F32(2 ** s["b1"] - 1)
    return scale[np.arange(count) // s["B0"]]


def quantized(tensors, prefix, levels, config, count):
    part = lambda name: tensors[f"{prefix}.{name}"]
    codes = fields(part("codes"), config["b0"], count)
    return np.asarray(levels, F32)[codes] * two_level(part, count, config)


def inverse_normal(p):
    """PPND16 of Wichura's AS 241."""
    a = [3.387132872796366608, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3]
    b = [1, 4.2313330701600911252e1, 6.871870074920579083e2, 5.3941960214247511077e3, 2.1213794301586595867e4, 3.930789580009271061e4, 2.8729085735721942674e4, 5.226495278852854561e3]
    c = [1.42343711074968357734, 4.6303378461565452959, 5.7694972214606914055, 3.64784832476320460504, 1.27045825245236838258, 2.4178072517745061177e-1, 2.27238449892691845833e-2, 7.7454501427834140764e-4]
    d = [1, 2.05319162663775882187, 1.6763848301838038494, 6.8976733498510000455e-1, 1.4810397642748007459e-1, 1.51986665636164571966e-2, 5.475938084995344946e-4, 1.05075007164441684324e-9]
    e = [6.6579046435011037772, 5.4637849111641143699, 1.7848265399172913358, 2.9656057182850489123e-1, 2.6532189526576123093e-2, 1.2426609473880784386e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7]
    f = [1, 5.9983220655588793769e-1, 1.3692988092273580531e-1, 1.48753612908506148525e-2, 7.868691311456132591e-4, 1.8463183175100546818e-5, 1.4215117583164458887e-7, 2.04426310338993978564e-15]
    ratio = lambda n, m, x: np.polyval(n[::-1], x) / np.polyval(m[::-1], x)
    q = p - 0.5
    if abs(q) <= 0.425:
        return q * ratio(a, b, 0.180625 - q * q)
    r = math.sqrt(-math.log(p if q < 0 else 1 - p))
    tail = ratio(c, d, r - 1.6) if r <= 5 else ratio(e, f, r - 5)
    return -tail if q < 0 else tail


def mix(x, n, a, b):
    if n < 2:
        return x
    mask, h = np.uint64(2**n - 1), np.uint64(n // 2)
    for factor in (a, b, a):
        x = (x * np.uint64(factor)) & mask
        x = x ^ (x >> h)
    return x


@lru_cache
def trellis_values(L, k):
    """Values of all 2^L states for a step that takes k new bits."""
    quantiles = np.array([inverse_normal((i + 0.5) / 2**L) for i in range(2**L)])
    sigma = math.sqrt(sum(float(x) * float(x) for x in quantiles) / 2**L)
    state = np.arange(2**L, dtype=np.uint64)
    n = L - k
    p, u = state & np.uint64(2**n - 1), state >> np.uint64(n)
    rank = ((u ^ mix(p, n, 0xC2B2AE35, 0x27D4EB2F)) & np.uint64(2**k - 1)) << np.uint64(n)
    return (quantiles[rank + mix(p, n, 0x9E3779B1, 0x85EBCA6B)] / sigma).astype(np.float16).astype(F32)


def trellis(part, rows, cols, g):
    K, V, L = g["bits"], g["step"], g["states"]
    codes, tiles = bits_of(part("codes")), -(-rows // TILE) * -(-cols // TILE)
    first = L - K // V
    starts = None if g["tailBiting"] else bits_of(part("starts"))[: tiles * first].reshape(tiles, first)
    out, at, tile = np.zeros((rows, cols), F32), 0, 0
    for i in range(0, rows, TILE):
        for j in range(0, cols, TILE):
            height, width = min(TILE, rows - i), min(TILE, cols - j)
            m = height * width
            end = (np.arange(m) + 1) * K // V
            stream = codes[at : at + end[-1]]
            wanted = end[:, None] - L + np.arange(L)
            if starts is None:
                bits = stream[wanted % max(len(stream), 1)]
            else:
                bits = np.concatenate([starts[tile], stream])[wanted + first]
            state = bits.astype(np.int64) @ (1 << np.arange(L))
            new = np.diff(end, prepend=0)
            value = np.zeros(m, F32)
            for k in np.unique(new):
                value[new == k] = trellis_values(L, int(k))[state[new == k]]
            out[i : i + height, j : j + width] = value.reshape(height, width)
            at, tile = at + end[-1], tile + 1
    return out


def unrotated(y, seed):
    rows, cols = y.shape
    b = min(cols & -cols, 512)
    y = y.reshape(rows, cols // b, b).copy()
    h = 1
    while h < b:
        pairs = y.reshape(rows, cols // b, b // (2 * h), 2, h)
        y = np.stack([pairs[..., 0, :] + pairs[..., 1, :], pairs[..., 0, :] - pairs[..., 1, :]], axis=-2)
        h *= 2
    z = np.uint64(seed) + np.arange(1, cols + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    sign = np.where(z >> np.uint64(63), F32(-1), F32(1))
    return (y.reshape(rows, cols) * F32(1 / math.sqrt(b))) * sign


def decoded(part, shape, option, books, seed):
    """A matrix without its low-rank part."""
    (rows, cols), grid, scales = shape, option["grid"], option["scales"]
    kind, count = grid["kind"], rows * cols
    if kind == "zero":
        return np.zeros(shape, F32)
    if scales["kind"] == "two-level":
        scale = two_level(part, count, scales).reshape(rows, cols)
    elif scales["kind"] == "group":
        group = np.arange(cols) // scales["size"]
        scale = floats(part("group_scales"))[:, group]
    else:
        group = np.zeros(cols, int)
        scale = floats(part("row_scales"))[:, None]
    if kind == "trellis":
        y = trellis(part, rows, cols, grid) * scale
    else:
        bits = grid.get("bits", 4)
        codes = fields(part("codes"), bits, count).reshape(rows, cols)
        if kind == "int":
            groups = group[-1] + 1
            zero = 2 ** (bits - 1) if grid["symmetric"] else fields(part("group_zeros"), bits, rows * groups).reshape(rows, groups)[:, group]
            values = (codes - zero).astype(F32)
        else:
            values = {"nf": lambda: np.asarray(books[f"nf{bits}"], F32), "fitted": lambda: floats(part("book")), "fp4": lambda: FP4}[kind]()[codes]
        y = values * scale
    undo = {"none": lambda: y, "hadamard": lambda: unrotated(y, seed), "scaled": lambda: y / floats(part("input_scales"))}
    return undo[option["transform"]]() * (1 if scales["kind"] == "two-level" else floats(part("multiplier"))[0])


def read_file(path):
    """Stored tensors by name, and the description."""
    content = Path(path).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    metadata = header.pop("__metadata__")
    assert metadata["format"] == "lq-studio"
    slices = {name: (start + entry["data_offsets"][0], start + entry["data_offsets"][1]) for name, entry in header.items()}
    tensors = {name: (entry["dtype"], entry["shape"], content[slice(*slices[name])]) for name, entry in header.items()}
    return tensors, json.loads(metadata["lq_studio"])


def read(folder):
    """(packed, kept): matrices decoded to fp32 and all other tensors, by name."""
    packed, kept = {}, {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        tensors, description = read_file(path)
        assert description["version"] == 3
        books, factors = description["books"], description["factors"]

        def factor(name, shape):
            if factors != "nf8":
                return floats(tensors[name])
            return quantized(tensors, name, books["nf8"], FACTOR_CONFIG, shape[0] * shape[1]).reshape(shape)

        for name, matrix in description["matrices"].items():
            (rows, cols), option = matrix["shape"], matrix["option"]
            w = decoded(lambda part: tensors[f"{name}.lq.{part}"], (rows, cols), option, books, description["seed"])
            if option["rank"] > 0:
                l1, l2 = factor(f"{name}.lq.l1", [rows, option["rank"]]), factor(f"{name}.lq.l2", [option["rank"], cols])
                for k in range(option["rank"]):
                    w = w + l1[:, k : k + 1] * l2[k : k + 1]
            packed[name] = w.T if matrix.get("transposed") else w
        kept.update({name: tensor for name, tensor in tensors.items() if ".lq." not in name})
    return packed, kept
