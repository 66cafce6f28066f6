"""Makes small random checkpoints of every family with transformers, and what they compute.

usage: language_models.py OUT
OUT/<case>/ is a checkpoint; beside its weights, expected.json has two sequences of tokens, their losses and the logits of
the first, and fisher.safetensors the mean of the squared gradients of their losses.
"""

import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

BASE = dict(
    vocab_size=97,
    hidden_size=40,
    intermediate_size=56,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    initializer_range=0.3,
    pad_token_id=None,
    bos_token_id=1,
    eos_token_id=2,
    tie_word_embeddings=False,
)


def rope(kind, **parameters):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=1000.0, **parameters))


CASES = {
    "llama": ("Llama", dict(head_dim=12)),
    "llama-biases-tied": ("Llama", dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True)),
    "llama-linear": ("Llama", rope("linear", factor=4.0)),
    "llama-dynamic": ("Llama", dict(max_position_embeddings=16, **rope("dynamic", factor=2.0))),
    "llama-llama3": (
        "Llama",
        dict(
            head_dim=16,
            **rope(
                "llama3",
                factor=8.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=32,
            ),
        ),
    ),
    "llama-yarn": ("Llama", dict(head_dim=16, **rope("yarn", factor=4.0, original_max_position_embeddings=16))),
    "mistral": ("Mistral", dict(head_dim=8, sliding_window=9)),
    "qwen2": ("Qwen2", dict()),
    "qwen2-window": ("Qwen2", dict(use_sliding_window=True, sliding_window=7, max_window_layers=0)),
    "qwen3": ("Qwen3", dict(head_dim=12, tie_word_embeddings=True)),
    "qwen3-biases": ("Qwen3", dict(head_dim=8, attention_bias=True, num_key_value_heads=1)),
    "ministral": (
        "Ministral",
        dict(
            head_dim=10,
            layer_types=["full_attention", "sliding_attention", "full_attention"],
            sliding_window=5,
        ),
    ),
    "gemma": ("Gemma", dict(head_dim=12)),
    "gemma2": (
        "Gemma2",
        dict(
            head_dim=12,
            query_pre_attn_scalar=20,
            attn_logit_softcapping=4.0,
            final_logit_softcapping=3.0,
            sliding_window=7,
            attention_bias=True,
        ),
    ),
    "gemma2-uncapped": (
        "Gemma2",
        dict(
            head_dim=10,
            attn_logit_softcapping=None,
            final_logit_softcapping=None,
            layer_types=["full_attention", "full_attention", "sliding_attention"],
            sliding_window=4,
            tie_word_embeddings=True,
        ),
    ),
    "gemma3": (
        "Gemma3",
        dict(
            head_dim=12,
            query_pre_attn_scalar=17,
            sliding_window=6,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            final_logit_softcapping=5.0,
            rope_parameters=dict(
                full_attention=dict(rope_type="linear", rope_theta=3000.0, factor=4.0),
                sliding_attention=dict(rope_type="default", rope_theta=50.0),
            ),
        ),
    ),
    "granite": (
        "Granite",
        dict(
            embedding_multiplier=3.0,
            attention_multiplier=0.2,
            residual_multiplier=0.4,
            logits_scaling=2.5,
            attention_bias=True,
            mlp_bias=True,
        ),
    ),
    "smollm3": ("SmolLM3", dict(no_rope_layers=[1, 0, 1])),
    "smollm3-windows": ("SmolLM3", dict(no_rope_layer_interval=2, use_sliding_window=True, sliding_window=5, mlp_bias=True)),
    "olmo2": ("Olmo2", dict(attention_bias=True)),
    "olmo3": (
        "Olmo3",
        dict(
            num_hidden_layers=4,
            sliding_window=6,
            rope_parameters=dict(
                full_attention=dict(
                    rope_type="yarn", rope_theta=1000.0, factor=4.0, original_max_position_embeddings=16
                ),
                sliding_attention=dict(rope_type="default", rope_theta=1000.0),
            ),
        ),
    ),
    "stablelm": ("StableLm", dict(use_qkv_bias=True, layer_norm_eps=0.01, num_key_value_heads=4)),
    "stablelm-half": (
        "StableLm",
        dict(rope_parameters=dict(rope_type="default", rope_theta=500.0, partial_rotary_factor=0.6)),
    ),
    "starcoder2": ("Starcoder2", dict(sliding_window=8)),
    "starcoder2-unbiased": ("Starcoder2", dict(use_bias=False, hidden_act="gelu", tie_word_embeddings=True)),
    "seed-oss": ("SeedOss", dict(head_dim=8, attention_out_bias=True)),
    "arcee": ("Arcee", dict(mlp_bias=True)),
}
SEQUENCES, CONTEXT = 2, 33


def make(name, family, changes, folder, stored=lambda name, tensor: {name: tensor}):
    """`stored` gives the tensors of the checkpoint that a parameter of the model is, by name."""
    torch.manual_seed(sum(name.encode()))
    # Gemma 3's plain name is the configuration of the model with images.
    kind = "Gemma3Text" if family == "Gemma3" else family
    config = getattr(transformers, f"{kind}Config")(**{**BASE, **changes})
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    model = getattr(transformers, f"{family}ForCausalLM")(config).float().eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            # Norms and biases are made all ones and zeros, which would hide how they are used.
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
        for buffer_name, buffer in model.named_buffers():
            if buffer_name.endswith("correction_bias"):
                buffer.add_(0.2 * torch.randn_like(buffer))
    model.save_pretrained(folder)
    tokens = torch.randint(0, config.vocab_size, (SEQUENCES, CONTEXT))
    squares = {n: torch.zeros_like(p) for n, p in model.named_parameters() if p.ndim >= 2}
    losses = []
    for row in tokens:
        model.zero_grad()
        out = model(row[None], labels=row[None])
        out.loss.backward()
        losses.append(out.loss.item())
        for n, p in model.named_parameters():
            if n in squares and p.grad is not None:
                squares[n] += p.grad.square() / SEQUENCES
    with torch.no_grad():
        logits = model(tokens[:1]).logits[0]
    expected = dict(tokens=tokens.flatten().tolist(), context=CONTEXT, losses=losses, logits=logits.flatten().tolist())
    (folder / "expected.json").write_text(json.dumps(expected))
    tensors = {part: t.contiguous() for n, s in squares.items() for part, t in stored(n, s).items()}
    save_file(tensors, folder / "fisher.safetensors")


if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1])
    for case, (family, changes) in CASES.items():
        make(case, family, changes, out / case)
    print(json.dumps(list(CASES)))
