"""Writes a bf16 checkpoint of LLaMA-2-7B's shapes whose linear weights look like trained ones to the quantiser: Student t
noise with four degrees of freedom plus 96 directions that decay as k^-0.7. For benchmarks; what it says is noise.

    python3 test/bench/cuda/checkpoint_7b.py FOLDER [--layers 32]
"""

import argparse
import json
import os
import shutil

import torch
from safetensors.torch import save_file

HIDDEN, INNER, VOCAB = 4096, 11008, 32000
BLOCK = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN, HIDDEN),
    "self_attn.v_proj": (HIDDEN, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}


def linear(rows, cols, generator):
    """Weights [rows, cols], bf16, of standard deviation near 0.02."""
    normal = torch.randn(rows, cols, device="cuda", generator=generator)
    chi = sum(torch.randn(rows, cols, device="cuda", generator=generator) ** 2 for _ in range(4))
    noise = normal / (chi / 4).sqrt() * 0.014
    left = torch.randn(rows, 96, device="cuda", generator=generator)
    right = torch.randn(96, cols, device="cuda", generator=generator)
    decay = torch.arange(1, 97, device="cuda", dtype=torch.float32) ** -0.7
    return (noise + 0.006 * (left * decay) @ right).bfloat16().cpu()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--layers", type=int, default=32)
    args = parser.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    generator = torch.Generator("cuda").manual_seed(0)
    shards, weight_map, total = -(-args.layers // 4) + 1, {}, 0

    def write(number, tensors):
        nonlocal total
        name = f"model-{number:05d}-of-{shards:05d}.safetensors"
        save_file(tensors, os.path.join(args.folder, name), metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(tensors, name))
        total += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())

    for first in range(0, args.layers, 4):
        tensors = {}
        for layer in range(first, min(first + 4, args.layers)):
            for role, shape in BLOCK.items():
                tensors[f"model.layers.{layer}.{role}.weight"] = linear(*shape, generator)
            for norm in ("input_layernorm", "post_attention_layernorm"):
                tensors[f"model.layers.{layer}.{norm}.weight"] = torch.ones(HIDDEN, dtype=torch.bfloat16)
        write(first // 4 + 1, tensors)
    table = lambda: (torch.randn(VOCAB, HIDDEN, device="cuda", generator=generator) * 0.02).bfloat16().cpu()
    write(shards, {"model.embed_tokens.weight": table(), "lm_head.weight": table(),
                   "model.norm.weight": torch.ones(HIDDEN, dtype=torch.bfloat16)})
    with open(os.path.join(args.folder, "model.safetensors.index.json"), "w") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, file)
    with open(os.path.join(args.folder, "config.json"), "w") as file:
        json.dump({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INNER,
            "num_hidden_layers": args.layers, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": VOCAB,
            "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
            "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        }, file, indent=1)
    sample = os.path.join(os.path.dirname(__file__), "../../../media/sample/tiny-books-4m")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(sample, name), args.folder)
    print(f"{args.folder}: {total / 1e9:.1f} GB in {shards} shards")


main()
