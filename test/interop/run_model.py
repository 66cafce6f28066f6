"""
Runs checkpoints in stock transformers, in fp32 on the CPU. Reads {"tokens": ids, "jobs": [[command, arguments...], ...]} as
JSON and prints the results of the jobs as one line of JSON: importing torch takes longer than any of them.

  refuse FOLDER               what loading the folder ends with
  perplexity FOLDER TEXT N    over the first N windows of 512 tokens, no BOS
  logits FOLDER OUT           of the tokens, raw fp32 into OUT
  adapter FOLDER TEXT OUT     peft's adapter of FOLDER on the base in it: logits of the tokens into OUT; losses of eight windows
                              without it, with it, and after ten steps of training on them
  packed-logits PACKED FOLDER OUT   the same with the weights that packed_reader decodes, in the model of FOLDER
"""

import json
import math
import sys

import torch
from peft import PeftModel
from packed_reader import floats, read
from transformers import AutoModelForCausalLM, AutoTokenizer

CONTEXT = 512
torch.set_num_threads(2)
request = json.load(sys.stdin)


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def refuse(folder):
    try:
        load(folder)
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}
    return {"loaded": True}


def perplexity(folder, text, windows):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with open(text, encoding="utf8") as file:
        ids = tokenizer(file.read(), add_special_tokens=False)["input_ids"]
    model = load(folder)
    losses = []
    for i in range(windows):
        window = torch.tensor([ids[i * CONTEXT : (i + 1) * CONTEXT]])
        losses.append(model(window, labels=window).loss.item())
    return {"perplexity": math.exp(sum(losses) / len(losses)), "tokens": len(losses) * (CONTEXT - 1)}


def write_logits(model, out):
    tokens = torch.tensor([request["tokens"]])
    model(tokens).logits[0].float().contiguous().numpy().tofile(out)
    return {"tokens": tokens.shape[1]}


def packed_logits(packed, folder, out):
    model = load(folder)
    matrices, kept = read(packed)
    state = {**matrices, **{name: floats(tensor) for name, tensor in kept.items()}}
    model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in state.items()}, strict=True)
    return write_logits(model, out)


def adapter(folder, text, out):
    tokenizer = AutoTokenizer.from_pretrained(f"{folder}/base")
    with open(text, encoding="utf8") as file:
        ids = tokenizer(file.read(), add_special_tokens=False)["input_ids"]
    batch = torch.tensor(ids[: 8 * 128]).reshape(8, 128)
    model = PeftModel.from_pretrained(load(f"{folder}/base"), folder, is_trainable=True)
    write_logits(model, out)
    with model.disable_adapter():
        base = model(batch, labels=batch).loss.item()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    losses = []
    with torch.enable_grad():
        for _ in range(10):
            loss = model(batch, labels=batch).loss
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    after = model(batch, labels=batch).loss.item()
    return {"base": base, "adapted": losses[0], "trained": after, "tensors": len(trained)}


commands = {
    "adapter": adapter,
    "refuse": refuse,
    "perplexity": perplexity,
    "logits": lambda folder, out: write_logits(load(folder), out),
    "packed-logits": packed_logits,
}
with torch.no_grad():
    print(json.dumps([commands[command](*arguments) for command, *arguments in request["jobs"]]))
