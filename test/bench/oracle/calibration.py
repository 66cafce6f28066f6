"""Writes test/fixtures/calibration-tiny-books-4m.json: what PyTorch and transformers give for the calibration statistics of
the sample, over the first windows of the calibration text. Run in the repository root: python test/bench/oracle/calibration.py
"""
import json

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

MODEL, TEXT = 'media/sample/tiny-books-4m', 'media/sample/calibration.txt'
SAMPLES, CONTEXT = 4, 512
INPUTS = {'self_attn.q_proj': 'attention', 'self_attn.o_proj': 'output', 'mlp.gate_proj': 'mlp', 'mlp.down_proj': 'down'}

tokenizer = Tokenizer.from_file(f'{MODEL}/tokenizer.json')
ids = tokenizer.encode(open(TEXT, encoding='utf-8').read()[:40000], add_special_tokens=False).ids
tokens = torch.tensor(ids[: SAMPLES * CONTEXT]).view(SAMPLES, CONTEXT)
model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation='eager')

moments, squares = {}, {}


def watch(name):
    def hook(_module, inputs, _output):
        x = inputs[0].detach().double().reshape(-1, inputs[0].shape[-1])
        moments[name] = moments.get(name, 0) + x.T @ x

    return hook


for name, module in model.named_modules():
    if any(name.endswith(suffix) for suffix in INPUTS):
        module.register_forward_hook(watch(f'{name}.weight'))
losses = []
for row in tokens:
    model.zero_grad()
    loss = model(input_ids=row[None], labels=row[None]).loss
    loss.backward()
    losses.append(loss.item())
    for name, weight in model.named_parameters():
        if weight.dim() == 2 and 'layers' in name:
            squares[name] = squares.get(name, 0) + weight.grad.double().square()

report = {'samples': SAMPLES, 'context': CONTEXT, 'losses': losses, 'inputs': {}, 'matrices': {}}
for name, moment in moments.items():
    moment = moment / (SAMPLES * CONTEXT)
    n = moment.shape[0]
    report['inputs'][name] = {
        'meanSquare': moment.diagonal().mean().item(),
        'norm': moment.norm().item(),
        'elements': [[i, j, moment[i, j].item()] for i, j in ((0, 0), (n - 1, 2), (7, n // 2), (n // 3, n // 5))],
    }
for name, square in squares.items():
    mean = (square / SAMPLES).mean(dim=1)
    report['matrices'][name] = {'fisherMean': mean.mean().item(), 'first': mean[0].item(), 'last': mean[-1].item()}
json.dump(report, open('test/fixtures/calibration-tiny-books-4m.json', 'w'), indent=1)
