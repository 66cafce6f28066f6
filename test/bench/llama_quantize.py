"""
llama.cpp's own quantiser: llama_quantize.py SOURCE.gguf IMATRIX.gguf OUT TYPE...

Writes OUT/<TYPE>.gguf of every type (names of llama_ftype without LLAMA_FTYPE_MOSTLY_), default mixes, with the importance matrix,
which is read with the gguf package. Prints JSON: of each type its file's bytes.
"""

import ctypes
import json
import os
import pathlib
import sys

import gguf
import llama_cpp
import numpy as np

source, importance, out, *types = sys.argv[1:]
llama_cpp.llama_backend_init()
silent = llama_cpp.llama_log_callback(lambda *_: None)
llama_cpp.llama_log_set(silent, ctypes.c_void_p())

tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(importance).tensors}
means = {
    name.removesuffix(".in_sum2"): np.ascontiguousarray(
        (data / np.maximum(tensors[name.replace(".in_sum2", ".counts")], 1)).astype(np.float32).reshape(-1)
    )
    for name, data in tensors.items()
    if name.endswith(".in_sum2")
}
# Ended by an entry without a name.
entries = (llama_cpp.llama_model_imatrix_data * (len(means) + 1))()
for entry, (name, values) in zip(entries, means.items()):
    entry.name, entry.size = name.encode(), values.size
    entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))

sizes = {}
for name in types:
    options = llama_cpp.llama_model_quantize_default_params()
    options.nthread = len(os.sched_getaffinity(0))
    options.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}")
    options.imatrix = entries
    file = pathlib.Path(out) / f"{name}.gguf"
    if llama_cpp.llama_model_quantize(source.encode(), str(file).encode(), ctypes.byref(options)) != 0:
        raise SystemExit(f"llama.cpp does not quantise {source} as {name}")
    sizes[name] = file.stat().st_size
print(json.dumps(sizes))
