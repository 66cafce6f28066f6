"""FILE...: of every tensor of GGUF files, by name, what the gguf package's dequantised values are: count, min, max, mean, absmax."""

import json
import sys

import gguf
import numpy as np

found = {}
for file in sys.argv[1:]:
    for tensor in gguf.GGUFReader(file).tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
        found[tensor.name] = dict(
            count=values.size,
            min=values.min(),
            max=values.max(),
            mean=values.mean(),
            absmax=np.abs(values).max(),
        )
print(json.dumps(found))
