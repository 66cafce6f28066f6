"""
GGUF TEXT WINDOWS: the perplexity of the first WINDOWS windows of 512 tokens, no BOS, by llama.cpp and by transformers of the same
file, on the CPU. Prints JSON. Of llama.cpp's buffers those with packed weights (AMX) are left out: they crash on some types.
"""

import ctypes
import json
import math
import sys
from pathlib import Path

import llama_cpp
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

CONTEXT = 512
file, text, windows = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
torch.set_num_threads(2)

tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
ids = tokenizer(Path(text).read_text(encoding="utf8"), add_special_tokens=False)["input_ids"]
chunks = [ids[i * CONTEXT : (i + 1) * CONTEXT] for i in range(windows)]


def loss(logits, tokens):
    logits = logits[:-1].astype(np.float64)
    top = logits.max(axis=1, keepdims=True)
    norm = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return float((norm - logits[np.arange(len(tokens) - 1), tokens[1:]]).mean())


def of_transformers():
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
    with torch.no_grad():
        return [loss(model(torch.tensor([chunk])).logits[0].numpy(), chunk) for chunk in chunks]


def of_llama():
    llama_cpp.llama_backend_init()
    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p())
    options = llama_cpp.llama_model_default_params()
    options.n_gpu_layers = 0
    options.use_extra_bufts = False
    model = llama_cpp.llama_model_load_from_file(str(file).encode(), options)
    if not model:
        raise SystemExit(f"llama.cpp does not load {file}")
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    width = llama_cpp.llama_vocab_n_tokens(vocabulary)
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = CONTEXT
    settings.n_threads = settings.n_threads_batch = 2
    context = llama_cpp.llama_init_from_model(model, settings)
    encoded = Path(text).read_bytes()[:4000]
    room = (llama_cpp.llama_token * 8000)()
    count = llama_cpp.llama_tokenize(vocabulary, encoded, len(encoded), room, len(room), False, True)
    losses = []
    for chunk in chunks:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        batch = llama_cpp.llama_batch_init(CONTEXT, 0, 1)
        batch.n_tokens = len(chunk)
        for i, token in enumerate(chunk):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
            batch.seq_id[i][0] = 0
        if llama_cpp.llama_decode(context, batch) != 0:
            raise SystemExit("llama.cpp does not decode")
        rows = [np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, i), (width,)).copy() for i in range(len(chunk))]
        losses.append(loss(np.stack(rows), chunk))
        llama_cpp.llama_batch_free(batch)
    # The end of the shortened text may be cut through a token.
    return losses, list(room[: count - 8]) == ids[: count - 8]


theirs, same = of_llama()
ours = of_transformers()
perplexity = lambda losses: math.exp(sum(losses) / len(losses))
print(json.dumps({"llama": perplexity(theirs), "transformers": perplexity(ours), "sameTokens": same}))
