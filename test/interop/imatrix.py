"""An importance matrix as llama.cpp's own tools read and write it, with the gguf package.

imatrix.py read GGUF DAT      -> JSON of both: mean squares by name, counts, metadata
imatrix.py write FROM TO      -> copies a GGUF importance matrix value by value with gguf's writer
"""
import json
import struct
import sys

import numpy as np
from gguf import GGUFReader, GGUFWriter


def read_gguf(path):
    reader = GGUFReader(path)
    field = {name: reader.get_field(name).contents() for name in reader.fields if not name.startswith("GGUF.")}
    tensors = {t.name: np.array(t.data, dtype=np.float32) for t in reader.tensors}
    shapes = {t.name: [int(n) for n in t.shape] for t in reader.tensors}
    return field, tensors, shapes


def read_dat(path):
    """As load_legacy_imatrix of tools/imatrix/imatrix.cpp and load_imatrix of tools/quantize/quantize.cpp do."""
    with open(path, "rb") as f:
        def int32():
            return struct.unpack("<i", f.read(4))[0]

        entries = {}
        for _ in range(int32()):
            name = f.read(int32()).decode()
            calls, count = int32(), int32()
            entries[name] = np.frombuffer(f.read(4 * count), "<f4") / max(calls, 1)
        chunks = int32()
        dataset = f.read(int32()).decode()
        assert f.read() == b""
    return entries, chunks, dataset


if sys.argv[1] == "read":
    field, tensors, shapes = read_gguf(sys.argv[2])
    entries, chunks, dataset = read_dat(sys.argv[3])
    means, counts = {}, {}
    for name, data in tensors.items():
        if name.endswith(".in_sum2"):
            matrix = name[: -len(".in_sum2")]
            counts[matrix] = tensors[matrix + ".counts"].reshape(-1).tolist()
            assert shapes[matrix + ".counts"] == [1, 1] and shapes[name][1] == 1
            means[matrix] = (data.reshape(-1) / counts[matrix][0]).tolist()
    old = {name: values.tolist() for name, values in entries.items()}
    print(json.dumps({"field": field, "means": means, "counts": counts, "old": old, "chunks": chunks, "dataset": dataset}))
else:
    field, tensors, _ = read_gguf(sys.argv[2])
    writer = GGUFWriter(sys.argv[3], "")
    writer.kv_data[0].clear()  # llama.cpp's has no architecture
    writer.add_string("general.type", "imatrix")
    writer.add_array("imatrix.datasets", field["imatrix.datasets"])
    writer.add_uint32("imatrix.chunk_count", field["imatrix.chunk_count"])
    writer.add_uint32("imatrix.chunk_size", field["imatrix.chunk_size"])
    for name, data in tensors.items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
