"""
FILE...: of every tensor of GGUF files, by name, what the gguf package's dequantised values are: count, min, max, mean, absmax.
Of experts the same of each, NAME[3], beside that of all.
"""

import json
import sys

import gguf
import numpy as np


def statistics(values):
    return dict(
        count=values.size,
        min=values.min(),
        max=values.max(),
        mean=values.mean(),
        absmax=np.abs(values).max(),
    )


found = {}
for file in sys.argv[1:]:
    for tensor in gguf.GGUFReader(file).tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
        found[tensor.name] = statistics(values)
        if "_exps." in tensor.name:
            found |= {f"{tensor.name}[{i}]": statistics(expert) for i, expert in enumerate(values)}
print(json.dumps(found))
