"""PACKED DENSE: compares a packed checkpoint, decoded by packed_reader, with its dense export: to the bit when that is fp32. Prints JSON."""

import json
import sys
from pathlib import Path

import numpy as np
from packed_reader import floats, read

packed, kept = read(sys.argv[1])
dense = {}
for path in Path(sys.argv[2]).glob("*.safetensors"):
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__")
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        dense[name] = (entry["dtype"], entry["shape"], content[start + begin : start + end])

worst, same = 0.0, True
for name, value in packed.items():
    # bf16 keeps 8 significant bits, so the nearest one is within 2^-9 of the binade above the value.
    unit = np.exp2(np.floor(np.log2(np.maximum(np.abs(value), 1e-30))) - 7)
    if dense[name][0] == "F32":
        same &= bool(np.array_equal(floats(dense[name]).view(np.uint32), value.astype(np.float32).view(np.uint32)))
    worst = max(worst, float(np.max((np.abs(floats(dense[name]) - value) - 1e-6) / unit)))
print(
    json.dumps(
        {
            "matrices": len(packed),
            "worstUnits": worst,
            "sameBits": same,
            "names": sorted([*packed, *kept]) == sorted(dense),
            "keptIdentical": all(dense[name] == tensor for name, tensor in kept.items()),
        }
    )
)
