"""Reads files from standard input, each after its length as u64, and prints what the reference parser says of each.

One JSON line a file: null where it is refused, else {name: [dtype, shape, bytes]}. The reference is the Rust library
behind the Python package, through `deserialize`, which parses and validates a whole file in memory.
"""

import json
import struct
import sys

from safetensors import SafetensorError, deserialize

data = sys.stdin.buffer.read()
at = 0
while at < len(data):
    (length,) = struct.unpack_from("<Q", data, at)
    at += 8
    try:
        tensors = deserialize(data[at : at + length])
        verdict = {name: [info["dtype"], list(info["shape"]), len(info["data"])] for name, info in tensors}
    except SafetensorError:
        verdict = None
    print(json.dumps(verdict))
    at += length
