"""transformers on the CPU as the other side of bench:lm.

usage: lm_transformers.py MODEL CONTEXT, then a line of token ids on standard input, then commands, a line each:
  forward BATCH   losses of all windows, BATCH at a time
  fisher          mean squared gradient of the blocks' matrices, one window a backward pass
  dtype NAME      float32, bfloat16 or float64 from now on
Answers each with a line of JSON: seconds, losses, and for fisher the sum by weight.
"""

import json
import sys
import time

import torch
import transformers

model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
for name, parameter in model.named_parameters():
    parameter.requires_grad_("layers." in name and parameter.ndim == 2)
weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
tokens = torch.tensor(json.loads(sys.stdin.readline())).view(-1, int(sys.argv[2]))


def wide(tensor):
    """At least single precision."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def cross_entropy(rows):
    logits = wide(model(rows, use_cache=False).logits[:, :-1])
    # A row of logits each: over the classes of a transposed tensor it sums tens of thousands of exponentials one by one in
    # fp32, which is off by 1e-4.
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
    return losses.view(len(rows), -1).mean(1)


def forward(batch):
    with torch.inference_mode():
        return torch.cat([cross_entropy(rows) for rows in tokens.split(batch)]).tolist(), {}


def fisher():
    sums = {name: torch.zeros_like(wide(p)) for name, p in weights.items()}
    losses = []
    for row in tokens:
        loss = cross_entropy(row[None])[0]
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for name, p in weights.items():
                sums[name].add_(wide(p.grad).square())
                p.grad = None
    return losses, {name: (s / len(tokens)).sum(dtype=torch.float64).item() for name, s in sums.items()}


print(json.dumps({"torch": torch.__version__, "transformers": transformers.__version__, "threads": torch.get_num_threads()}), flush=True)
for line in sys.stdin:
    command, *arguments = line.split()
    if command == "dtype":
        model.to(getattr(torch, arguments[0]))
    start = time.perf_counter()
    losses, sums = ([], {}) if command == "dtype" else forward(int(arguments[0])) if command == "forward" else fisher()
    print(json.dumps({"seconds": time.perf_counter() - start, "losses": losses, "sums": sums}), flush=True)
