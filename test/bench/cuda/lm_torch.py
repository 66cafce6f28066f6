"""transformers on a model of LLaMA-2-7B's shape with fewer layers and random weights, or with --experts of Mixtral's
kind with many small experts: writes the model, its tokens, and
what fp32 gives for losses and squared gradients into a folder for lm_bench, then times forward and Fisher in bf16 with
sdpa attention. Prints one JSON object.

    python3 lm_torch.py FOLDER [--layers 8] [--context 512] [--sequences 64] [--compile] [--experts 64] [--forward]
"""

import argparse
import json
import os
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

KINDS = {
    "input_layernorm": 3, "post_attention_layernorm": 4, "self_attn.q_proj": 5, "self_attn.k_proj": 6,
    "self_attn.v_proj": 7, "self_attn.o_proj": 8, "mlp.gate_proj": 9, "mlp.up_proj": 10, "mlp.down_proj": 11,
    "mlp.experts.gate_up_proj": 33, "mlp.experts.down_proj": 11, "mlp.gate": 46,
}
TOP = {"model.embed_tokens": 0, "model.norm": 1, "lm_head": 2}


def place(name):
    """Layer and kind, the numbers of WeightKind."""
    name = name.removesuffix(".weight")
    if name in TOP:
        return -1, TOP[name]
    _, _, layer, rest = name.split(".", 3)
    return int(layer), KINDS[rest]


GATE_UP, ROUTER = KINDS["mlp.experts.gate_up_proj"], KINDS["mlp.gate"]


def parts(name, value):
    """The weights that a parameter is: (layer, kind, expert or -1, values)."""
    layer, kind = place(name)
    return [(layer, kind, e, v) for e, v in enumerate(value)] if value.dim() == 3 else [(layer, kind, -1, value)]


def is_matrix(name):
    """Whether squared gradients are summed for it."""
    kind = place(name)[1]
    return 5 <= kind <= 11 or kind == GATE_UP


def losses_of(model, tokens):
    """Mean next-token cross entropy of each sequence, fp32."""
    logits = model(tokens).logits[:, :-1].float()
    flat = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1),
                                             reduction="none")
    return flat.reshape(tokens.shape[0], -1).mean(1)


def best_seconds(work, runs):
    times = []
    for _ in range(runs):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def write(model, tokens, folder, options):
    c = model.config
    with open(os.path.join(folder, "weights.bf16"), "wb") as out, open(os.path.join(folder, "model.txt"), "w") as index:
        print(c.num_hidden_layers, c.hidden_size, c.num_attention_heads, c.num_key_value_heads,
              c.hidden_size // c.num_attention_heads, c.intermediate_size, c.vocab_size, c.max_position_embeddings,
              c.rms_norm_eps, 10000, tokens.shape[1], options.check, tokens.shape[0], options.experts,
              options.experts_per_token, file=index)
        offset = 0
        for name, value in model.state_dict().items():
            for layer, kind, expert, part in parts(name, value):
                print(layer, kind, expert, offset, part.numel(), file=index)
                part.contiguous().view(torch.int16).cpu().numpy().tofile(out)
                offset += part.numel()
    tokens.to(torch.int32).cpu().numpy().tofile(os.path.join(folder, "tokens.i32"))


def of_matrices(model):
    """Parameters that gradients are compared for: the first and the last layer's."""
    for name, parameter in model.named_parameters():
        if is_matrix(name) and place(name)[0] in (0, model.config.num_hidden_layers - 1):
            yield name, parameter


def write_expected(model, tokens, folder, options):
    """Losses and squared gradients in fp32, and how far transformers in bf16 is from them: noise.txt has the worst loss,
    and the worst relative distances of a matrix's squared gradients and of their sum. With experts those are large: in bf16
    other experts are chosen."""
    def evaluate(which):
        with torch.no_grad():
            losses = torch.cat([losses_of(which, tokens[i:i + 1]) for i in range(options.check)]).double().cpu()
        losses_of(which, tokens[:1]).sum().backward()
        squares = {(layer, kind, expert): part.float().square().cpu() for name, p in of_matrices(which)
                   for layer, kind, expert, part in parts(name, p.grad)[:4]}
        which.zero_grad(set_to_none=True)
        return losses, squares

    exact = type(model)(model.config).cuda()
    exact.load_state_dict(model.state_dict())
    losses, squares = evaluate(exact)
    del exact
    losses.numpy().tofile(os.path.join(folder, "losses.f64"))
    for (layer, kind, expert), value in squares.items():
        value.numpy().tofile(os.path.join(folder, f"fisher_{layer}_{kind}_{expert}.f32"))
    rough_losses, rough = evaluate(model)
    noise = ((rough_losses - losses).abs().max().item(),
             max((torch.linalg.norm(rough[at] - value) / torch.linalg.norm(value)).item()
                 for at, value in squares.items()),
             max((rough[at].double().sum() / value.double().sum() - 1).abs().item() for at, value in squares.items()))
    with open(os.path.join(folder, "noise.txt"), "w") as out:
        print(*noise, file=out)
    return {"bf16_worst_loss": noise[0], "bf16_worst_fisher_norm": noise[1], "bf16_worst_fisher_sum": noise[2]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--kv-heads", type=int, default=32)
    parser.add_argument("--experts", type=int, default=0)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--forward", action="store_true", help="time forward alone")
    options = parser.parse_args()
    options.check = 4
    options.experts_per_token = 8 if options.experts else 0
    os.makedirs(options.folder, exist_ok=True)
    torch.manual_seed(0)
    common = dict(num_hidden_layers=options.layers, vocab_size=32000, max_position_embeddings=4096,
                  attn_implementation="sdpa", use_cache=False)
    if options.experts:
        config = MixtralConfig(hidden_size=2048, intermediate_size=1024, num_attention_heads=16, num_key_value_heads=4,
                               num_local_experts=options.experts, num_experts_per_tok=options.experts_per_token,
                               sliding_window=None, rope_parameters=dict(rope_type="default", rope_theta=10000.0),
                               **common)
    else:
        config = LlamaConfig(hidden_size=4096, intermediate_size=11008, num_attention_heads=32,
                             num_key_value_heads=options.kv_heads, **common)
    with torch.device("cuda"):
        model = (MixtralForCausalLM if options.experts else LlamaForCausalLM)(config)
    # Weights of transformers' initialisation give nearly equal logits; larger ones make losses tell errors apart.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2:
                parameter.mul_(1.5)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model = model.to(torch.bfloat16)
    tokens = torch.randint(0, config.vocab_size, (options.sequences, options.context), device="cuda")
    write(model, tokens, options.folder, options)
    result = {"layers": options.layers, "context": options.context}
    result.update(write_expected(model, tokens, options.folder, options))
    torch.cuda.empty_cache()
    print("written", file=sys.stderr)

    runner = torch.compile(model) if options.compile else model
    rows = 8192 // options.context

    def forward():
        with torch.no_grad():
            for i in range(0, options.sequences, rows):
                losses_of(runner, tokens[i:i + rows])

    forward()
    result["forward_tokens_per_second"] = tokens.numel() / best_seconds(forward, 3)
    if options.forward:
        print(json.dumps(result))
        return
    matrices = [p for n, p in model.named_parameters() if is_matrix(n)]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parameter in matrices:
        parameter.requires_grad_(True)
    accumulators = [torch.zeros_like(p, dtype=torch.float32) for p in matrices]
    some = min(options.sequences, 16)

    def fisher():
        for i in range(some):
            losses_of(runner, tokens[i:i + 1]).sum().backward()
            for parameter, accumulator in zip(matrices, accumulators):
                accumulator.addcmul_(parameter.grad, parameter.grad)
                parameter.grad = None

    fisher()
    result["fisher_tokens_per_second"] = some * options.context / best_seconds(fisher, 2)
    print(json.dumps(result))


main()
