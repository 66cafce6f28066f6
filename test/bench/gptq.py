"""A checkpoint quantised by GPTQModel as people run it, on the CPU, and what it stands for as dense weights.

gptq.py MODEL TEXT OUT --bits B --group G --samples N --context C
Writes OUT/quantized (GPTQModel's own files) and OUT/dense (the same weights in fp32, for any program), checks that the
dense weights are the ones GPTQModel computes with, and prints {"bits": stored bits a weight, "weights": N, "error": E}.
"""
import argparse
import contextlib
import json
import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # with two cores it would take one, and ask for two of it
import torch  # noqa: E402
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("text")
parser.add_argument("out", type=Path)
for name, default in (("bits", 4), ("group", 128), ("samples", 256), ("context", 512)):
    parser.add_argument(f"--{name}", type=int, default=default)
args = parser.parse_args()


def windows():
    """The calibration windows of lq-studio: consecutive, without special tokens."""
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    ids = tokenizer(Path(args.text).read_text(), add_special_tokens=False)["input_ids"]
    for i in range(args.samples):
        window = ids[i * args.context : (i + 1) * args.context]
        yield {"input_ids": window, "attention_mask": [1] * len(window)}


def unpack(words, bits, count):
    """Fields of `bits` bits along the first dimension of int32 words, without gaps, lowest first."""
    stream = (words.to(torch.int64) & 0xFFFFFFFF).unsqueeze(1) >> torch.arange(32).view(1, 32, 1)
    flat = (stream & 1).reshape(-1, words.shape[1])[: count * bits].reshape(count, bits, -1)
    return (flat << torch.arange(bits).view(1, bits, 1)).sum(1)


def dequantize(tensor, module, bits):
    scales = tensor(f"{module}.scales").to(torch.float32)  # [groups, out]
    codes = unpack(tensor(f"{module}.qweight"), bits, tensor(f"{module}.g_idx").shape[0])  # [in, out]
    zeros = unpack(tensor(f"{module}.qzeros").T.contiguous(), bits, scales.shape[1]).T + 1  # the format stores one less
    group = tensor(f"{module}.g_idx").to(torch.int64)
    return ((codes - zeros[group]) * scales[group]).T.contiguous()  # [out, in]


quantized, dense = args.out / "quantized", args.out / "dense"
with contextlib.redirect_stdout(sys.stderr):
    config = QuantizeConfig(bits=args.bits, group_size=args.group)
    model = GPTQModel.load(args.model, config, device="cpu")
    model.quantize(list(windows()), batch_size=4)
    model.save(str(quantized))
    del model

files = sorted(quantized.glob("*.safetensors"))
opened = {name: file for file in map(lambda path: safe_open(path, "pt"), files) for name in file.keys()}
tensor = lambda name: opened[name].get_tensor(name)  # noqa: E731
modules = sorted(name[: -len(".qweight")] for name in opened if name.endswith(".qweight"))
weights = {f"{module}.weight": dequantize(tensor, module, args.bits) for module in modules}
stored = sum(tensor(f"{m}.{part}").numel() * tensor(f"{m}.{part}").element_size()
             for m in modules for part in ("qweight", "qzeros", "scales"))
count = sum(weight.numel() for weight in weights.values())

with contextlib.redirect_stdout(sys.stderr):
    runtime = GPTQModel.load(str(quantized), device="cpu", backend=BACKEND.GPTQ_TORCH)
    error = 0.0
    for name, module in runtime.model.named_modules():
        if f"{name}.weight" not in weights:
            continue
        x = torch.randn(8, module.in_features, generator=torch.Generator().manual_seed(0))
        theirs = module(x.to(torch.bfloat16)).to(torch.float32)
        ours = x.to(torch.bfloat16).to(torch.float32) @ weights[f"{name}.weight"].T
        error = max(error, float((theirs - ours).norm() / ours.norm()))

dense.mkdir(parents=True)
for path in Path(args.model).iterdir():
    if path.suffix == ".json" and "safetensors" not in path.name:
        shutil.copy(path, dense / path.name)
for path in Path(args.model).glob("*.safetensors"):
    with safe_open(path, "pt") as file:
        for name in file.keys():
            weights.setdefault(name, file.get_tensor(name).to(torch.float32))
save_file({name: weight.contiguous() for name, weight in weights.items()}, dense / "model.safetensors")
print(json.dumps({"bits": 8 * stored / count, "weights": count, "error": error}))
os._exit(0)  # its worker threads would wait
