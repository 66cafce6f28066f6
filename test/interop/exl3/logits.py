"""
Logits of an EXL3 folder in stock GPTQModel on the CPU beside those of dense folders in transformers, all in fp32:
  python logits.py EXL3 DENSE ORIGINAL
DENSE is the EXL3 folder decoded by this program. Prints JSON: the bits of every module that GPTQModel runs as EXL3, the largest
differences of logits from the two and of a weight from its decoding, in units of the logits' and its matrix's root mean square: as it
is, and ("rounded") where GPTQModel's values of the code are rounded to fp16, as exllamav3's kernels and this program have them.
"""

import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
# Otherwise products of large matrices are of bf16 where the processor has them.
os.environ["GPTQMODEL_EXL3_CPU_BF16X3"] = "0"
real, sys.stdout = sys.stdout, sys.stderr  # GPTQModel prints as it loads

import torch
from gptqmodel import BACKEND, GPTQModel
from gptqmodel.nn_modules import exllamav3_torch
from transformers import AutoModelForCausalLM

torch.set_num_threads(2)
exl3, dense, original = sys.argv[1:]
tokens = torch.tensor([[(i * 677 + 31) % 2048 for i in range(96)]])


def plain(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


with torch.no_grad():
    loaded = GPTQModel.load(exl3, device="cpu", backend=BACKEND.EXL3_TORCH, dtype=torch.float32).model.eval()
    for weight in [*loaded.parameters(), *loaded.buffers()]:
        if weight.dtype == torch.bfloat16:
            weight.data = weight.data.float()
    ours = plain(dense)
    expected = ours(tokens).logits[0]
    unit = expected.square().mean().sqrt()

    def from_ours():
        return ((loaded(tokens).logits[0].float() - expected).abs().max() / unit).item()
    modules = {name: m for name, m in loaded.named_modules() if getattr(m, "QUANT_TYPE", None) == "exl3"}

    def apart():
        most = 0.0
        for name, module in modules.items():
            weight = ours.get_submodule(name).weight
            difference = module.get_weight_tensor().float().T - weight
            most = max(most, (difference.abs().max() / weight.square().mean().sqrt()).item())
        return most

    stock_logits, stock_weights = from_ours(), apart()
    stock = exllamav3_torch._codebook_lut
    exllamav3_torch._codebook_lut = lambda *which: stock(*which).half().float()
    print(
        json.dumps(
            {
                "bits": {name: module.trellis.shape[-1] // 16 for name, module in modules.items()},
                "stock": {"weights": stock_weights, "logits": stock_logits},
                "rounded": {"weights": apart(), "logits": from_ours()},
                "original": ((plain(original)(tokens).logits[0] - expected).abs().max() / unit).item(),
            }
        ),
        file=real,
    )
