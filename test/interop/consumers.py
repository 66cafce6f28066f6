"""
Loads compressed checkpoints in stock consumers on the CPU in fp32. Reads {"tokens": ids, "jobs": [[consumer, folder, out], ...]}
and {"sample": folder} as JSON: writes the logits of the tokens to OUT.f32 and every weight to OUT/NAME.f32, and prints the shapes of the weights.

  transformers   a folder of safetensors
  gguf           a folder with one GGUF file, read by transformers
  mlx            a folder of mlx-lm, run by MLX on the CPU
  nested         a folder that bitsandbytes itself makes of the model SAMPLE, its scales quantised too, and then as below
  bitsandbytes   a folder of NF4, computed with in fp32: the file's own type is that of its dense weights
"""

import json
import sys
from pathlib import Path

import bitsandbytes
import mlx.core as mx
import mlx_lm
import numpy as np
import torch
from mlx.utils import tree_map
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

torch.set_num_threads(2)
request = json.load(sys.stdin)


def load(consumer, folder):
    where = {"gguf_file": next(Path(folder).glob("*.gguf")).name} if consumer == "gguf" else {}
    return in_fp32(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **where).eval())


def linears_of_4_bits(model):
    return [(name, m) for name, m in model.named_modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]


def in_fp32(model):
    # Beside 4-bit weights, transformers keeps the others in their own type whatever it is asked for.
    for weight in model.parameters():
        if weight.is_floating_point():
            weight.data = weight.data.float()
    for _, layer in linears_of_4_bits(model):
        layer.compute_dtype = layer.weight.quant_state.dtype = torch.float32
        # Processors with AVX512-BF16 have a path of their own, which rounds scales to bf16.
        layer.support_avx512bf16_for_cpu = False
    return model


def wide(array):
    return array.astype(mx.float32) if mx.issubdtype(array.dtype, mx.floating) else array


def dump_mlx(folder, out):
    model, _ = mlx_lm.load(folder)
    model.update(tree_map(wide, model.parameters()))
    np.array(model(mx.array([request["tokens"]]))[0]).tofile(f"{out}.f32")
    Path(out).mkdir()
    shapes = {}
    for module, layer in model.named_modules():
        if "weight" not in layer:
            continue
        weight = layer.weight
        if "scales" in layer:
            weight = mx.dequantize(weight, layer.scales, layer.biases, layer.group_size, layer.bits)
        np.array(weight).tofile(Path(out) / f"{module}.weight.f32")
        shapes[f"{module}.weight"] = list(weight.shape)
    return shapes


def quantize(folder):
    # Rows that its blocks of 64 do not divide are left as they are.
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=["down_proj", "lm_head"],
    )
    AutoModelForCausalLM.from_pretrained(request["sample"], quantization_config=settings).save_pretrained(folder)


def dump(consumer, folder, out):
    if consumer == "nested":
        quantize(folder)
    if consumer == "mlx":
        return dump_mlx(folder, out)
    model = load(consumer, folder)
    model(torch.tensor([request["tokens"]])).logits[0].float().contiguous().numpy().tofile(f"{out}.f32")
    Path(out).mkdir()
    shapes = {}
    decoded = {
        f"{name}.weight": bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        for name, layer in linears_of_4_bits(model)
    }
    for name, weight in {**model.state_dict(), **decoded}.items():
        if name.endswith(".weight"):
            weight.float().contiguous().numpy().tofile(Path(out) / f"{name}.f32")
            shapes[name] = list(weight.shape)
    return shapes


with torch.no_grad():
    print(json.dumps([dump(*job) for job in request["jobs"]]))
