"""Writes test/fixtures/divergence-tiny-books-4m.json: what PyTorch and transformers give for the sample against itself with
the last layer's down projection zeroed. Run in the repository root: python test/bench/oracle/divergence.py
"""
import json

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

MODEL, TEXT = 'media/sample/tiny-books-4m', 'media/sample/evaluation.txt'
WINDOWS, CONTEXT, ZEROED = 2, 512, 'model.layers.3.mlp.down_proj.weight'

tokenizer = Tokenizer.from_file(f'{MODEL}/tokenizer.json')
ids = tokenizer.encode(open(TEXT, encoding='utf-8').read()[:20000], add_special_tokens=False).ids
tokens = torch.tensor(ids[: WINDOWS * CONTEXT]).view(WINDOWS, CONTEXT)
model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float64, attn_implementation='eager')


def predictions():
    with torch.no_grad():
        return model(input_ids=tokens).logits[:, :-1].log_softmax(-1)


def perplexity(p):
    return p.gather(-1, tokens[:, 1:, None]).mean().neg().exp().item()


original = predictions()
dict(model.named_parameters())[ZEROED].data.zero_()
damaged = predictions()
kl = (original.exp() * (original - damaged)).sum(-1).flatten().sort().values
report = {
    'zeroed': ZEROED,
    'windows': WINDOWS,
    'context': CONTEXT,
    'perplexity': perplexity(damaged),
    'reference': perplexity(original),
    'kl': {'mean': kl.mean().item(), 'p99': kl[-(-99 * len(kl) // 100) - 1].item()},
    'sameTop': (original.argmax(-1) == damaged.argmax(-1)).double().mean().item(),
}
json.dump(report, open('test/fixtures/divergence-tiny-books-4m.json', 'w'), indent=2)
