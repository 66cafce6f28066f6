"""Makes small random checkpoints of every family with transformers, and what they compute.

usage: language_models.py OUT [CASE...]
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


# Names of sizes that GPT-2 and its descendants have.
GPT2 = dict(n_embd=40, n_layer=3, n_head=4, n_positions=64)
GRANITE = dict(
    embedding_multiplier=3.0,
    attention_multiplier=0.2,
    residual_multiplier=0.4,
    logits_scaling=2.5,
    attention_bias=True,
    mlp_bias=True,
)

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
    "ministral3": (
        "Ministral3",
        dict(
            head_dim=12,
            sliding_window=9,
            **rope(
                "yarn",
                factor=4.0,
                original_max_position_embeddings=10,
                mscale=1.0,
                mscale_all_dim=0.5,
                llama_4_scaling_beta=0.3,
            ),
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
    "granite": ("Granite", GRANITE),
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
    "phi": ("Phi", dict(layer_norm_eps=0.01, num_attention_heads=5, num_key_value_heads=1)),
    "phi-normed": ("Phi", dict(qk_layernorm=True, num_attention_heads=5, num_key_value_heads=5)),
    "phi3": ("Phi3", dict(sliding_window=7)),
    "phi3-longrope": (
        "Phi3",
        dict(
            max_position_embeddings=64,
            original_max_position_embeddings=16,
            rope_parameters=dict(
                rope_type="longrope",
                rope_theta=1000.0,
                partial_rotary_factor=0.6,
                short_factor=[1.0, 1.1, 1.3],
                long_factor=[1.5, 2.5, 7.0],
            ),
        ),
    ),
    "phi3-longrope-short": (
        "Phi3",
        dict(
            max_position_embeddings=256,
            original_max_position_embeddings=64,
            rope_parameters=dict(
                rope_type="longrope",
                rope_theta=1000.0,
                short_factor=[1.0, 1.1, 1.3, 1.4, 2.0],
                long_factor=[1.5, 2.5, 7.0, 8.0, 9.0],
            ),
        ),
    ),
    "persimmon": ("Persimmon", dict(num_attention_heads=5)),
    "gpt2": ("GPT2", GPT2),
    "gpt2-unscaled": ("GPT2", dict(GPT2, n_inner=52, scale_attn_weights=False, activation_function="quick_gelu")),
    "gpt-bigcode": ("GPTBigCode", GPT2),
    "gpt-bigcode-heads": ("GPTBigCode", dict(GPT2, multi_query=False)),
    "gpt-neox": ("GPTNeoX", dict(rope_parameters=dict(rope_type="default", rope_theta=100.0, partial_rotary_factor=0.4))),
    "gpt-neox-after": ("GPTNeoX", dict(use_parallel_residual=False, hidden_act="gelu_fast", tie_word_embeddings=True)),
    "gptj": ("GPTJ", dict(GPT2, rotary_dim=6, tie_word_embeddings=False)),
    "gpt-neo": (
        "GPTNeo",
        dict(num_hidden_layers=4, num_attention_heads=5, attention_types=[[["global", "local"], 2]], window_size=6),
    ),
    "falcon": ("Falcon", dict(bias=True, num_hidden_layers=2)),
    "falcon-groups": ("Falcon", dict(new_decoder_architecture=True, num_kv_heads=2, ffn_hidden_size=60)),
    "falcon-one-norm": (
        "Falcon",
        dict(new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=1, tie_word_embeddings=True),
    ),
    "falcon-distances": ("Falcon", dict(alibi=True, multi_query=False, parallel_attn=False, bias=True)),
    "opt": ("OPT", dict(ffn_dim=56)),
    "opt-after": ("OPT", dict(ffn_dim=56, do_layer_norm_before=False, word_embed_proj_dim=24, tie_word_embeddings=True)),
    "opt-bare": ("OPT", dict(ffn_dim=56, enable_bias=False, layer_norm_elementwise_affine=False)),
    "bloom": ("Bloom", dict(n_layer=3, n_head=5)),
    "mpt": (
        "Mpt",
        dict(
            d_model=42,
            n_heads=6,
            n_layers=3,
            max_seq_len=64,
            attn_config=dict(clip_qkv=1.5, softmax_scale=0.3),
        ),
    ),
    "cohere": ("Cohere", dict(logit_scale=0.4, layer_norm_eps=0.01, tie_word_embeddings=True)),
    "cohere-normed": ("Cohere", dict(use_qk_norm=True, attention_bias=True)),
    "cohere2": ("Cohere2", dict(sliding_window=6, num_hidden_layers=4)),
    "nemotron": ("Nemotron", dict(head_dim=12, norm_eps=0.01, mlp_bias=True, attention_bias=True)),
    "glm": ("Glm", dict(head_dim=12)),
    "glm4": ("Glm4", dict(head_dim=8, attention_bias=False)),
    "olmo": ("Olmo", dict(clip_qkv=2.0)),
    "stablelm-parallel": ("StableLm", dict(use_parallel_residual=True)),
    "exaone4": ("Exaone4", dict(head_dim=12, num_hidden_layers=4, sliding_window=7, sliding_window_pattern=3)),
    "exaone4-full": (
        "Exaone4",
        dict(sliding_window=None, layer_types=["full_attention"] * 3, rms_norm_eps=0.01, tie_word_embeddings=True),
    ),
    "ernie4_5": ("Ernie4_5", dict(head_dim=12, use_bias=True)),
    "hunyuan-dense": ("HunYuanDenseV1", dict(head_dim=12, attention_bias=True)),
    "hunyuan-dense-alpha": (
        "HunYuanDenseV1",
        dict(head_dim=16, rms_norm_eps=0.01, **rope("dynamic", alpha=1000.0, factor=1.0)),
    ),
    "hunyuan-dense-yarn": (
        "HunYuanDenseV1",
        dict(head_dim=8, **rope("yarn", factor=4.0, original_max_position_embeddings=16, attention_factor=1.3)),
    ),
    "helium": ("Helium", dict(head_dim=10, attention_bias=True, mlp_bias=True)),
    "cwm": ("Cwm", dict(head_dim=16, sliding_window=6, mlp_bias=True)),
    "hyperclovax": (
        "HyperCLOVAX",
        dict(
            head_dim=12,
            attention_bias=True,
            mlp_bias=True,
            embedding_multiplier=1.3,
            logits_scaling=0.7,
            residual_multiplier=0.6,
            attention_multiplier=0.4,
        ),
    ),
    "hyperclovax-plain": ("HyperCLOVAX", dict(use_post_norm=False)),
    "jais2": ("Jais2", dict(layer_norm_eps=0.01)),
    "jais2-unbiased": ("Jais2", dict(attention_bias=False, mlp_bias=False, hidden_act="silu")),
    "vaultgemma": ("VaultGemma", dict(head_dim=12, sliding_window=7, query_pre_attn_scalar=30)),
    "eurobert": ("EuroBert", dict(mlp_bias=True, attention_bias=True, head_dim=12, mask_token_id=4)),
    "bert": ("Bert", dict(layer_norm_eps=0.01, type_vocab_size=3)),
    "bert-untied": ("Bert", dict(hidden_act="gelu_new", tie_word_embeddings=False)),
    "roberta": ("Roberta", dict(pad_token_id=5, max_position_embeddings=48)),
    "xlm-roberta": ("XLMRoberta", dict(pad_token_id=1)),
    "camembert": ("Camembert", dict(pad_token_id=1)),
    "distilbert": ("DistilBert", dict(dim=40, n_heads=4, n_layers=2, hidden_dim=56)),
    "electra": ("Electra", dict(embedding_size=24)),
    "electra-wide": ("Electra", dict(embedding_size=40, hidden_act="relu")),
    "modernbert": ("ModernBert", dict(local_attention=10, num_hidden_layers=4, pad_token_id=0)),
    "modernbert-biases": (
        "ModernBert",
        dict(
            local_attention=6,
            global_attn_every_n_layers=2,
            norm_bias=True,
            attention_bias=True,
            mlp_bias=True,
            classifier_bias=True,
            decoder_bias=False,
            pad_token_id=0,
        ),
    ),
}
# Tied as these are by default, which the common settings say otherwise.
TIED = {"Bert", "Roberta", "XLMRoberta", "Camembert", "DistilBert", "Electra", "ModernBert", "GPT2", "GPTBigCode"}
MASKED = TIED - {"GPT2", "GPTBigCode"} | {"EuroBert"}
MASK = 4
SEQUENCES, CONTEXT = 2, 33


def saved(model, folder):
    model.save_pretrained(folder)
    return model


def make(name, family, changes, folder, stored=lambda name, tensor: {name: tensor}, save=saved):
    """`stored` gives the tensors of the checkpoint that a parameter of the model is, by name; `save` the model as it was saved."""
    torch.manual_seed(sum(name.encode()))
    # The plain names of these are the configurations of models with images.
    kind = f"{family}Text" if family in ("Gemma3", "Llama4") else family
    tied = dict(tie_word_embeddings=True) if family in TIED else {}
    config = getattr(transformers, f"{kind}Config")(**{**BASE, **tied, **changes})
    # Falcon's eager code adds its biases by distance twice: to the scores, and with the mask.
    config._attn_implementation = "sdpa" if family == "Falcon" else "eager"
    config._experts_implementation = "eager"
    head = {"GPT2": "GPT2LMHeadModel"}.get(family, f"{family}For{'MaskedLM' if family in MASKED else 'CausalLM'}")
    model = getattr(transformers, head)(config).float().eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            # Norms and biases are made all ones and zeros, which would hide how they are used.
            if parameter.ndim == 1 or "norm.weight" in parameter_name or parameter_name.endswith("_bias"):
                parameter.add_(0.3 * torch.randn_like(parameter))
        for buffer_name, buffer in model.named_buffers():
            if buffer_name.endswith("correction_bias"):
                buffer.add_(0.2 * torch.randn_like(buffer))
    model = save(model, folder)
    tokens = torch.randint(MASK + 1, config.vocab_size, (SEQUENCES, CONTEXT))
    record(model, tokens, MASK if family in MASKED else None, folder, stored)


def record(model, tokens, mask, folder, stored=lambda name, tensor: {name: tensor}):
    """Writes beside a model what it computes of rows of tokens; with a mask every fourth is predicted where it stands."""
    squares = {n: torch.zeros_like(p) for n, p in model.named_parameters() if p.ndim >= 2}
    losses = []
    # A masked token is written as the complement of what it was.
    inputs, labels = tokens.clone(), tokens.clone()
    if mask is not None:
        inputs[:, ::4] = mask
        labels[inputs != mask] = -100
        tokens[:, ::4] = ~tokens[:, ::4]
    for row, label in zip(inputs, labels):
        model.zero_grad()
        out = model(row[None], labels=label[None])
        out.loss.backward()
        losses.append(out.loss.item())
        for n, p in model.named_parameters():
            if n in squares and p.grad is not None:
                squares[n] += p.grad.square() / len(tokens)
    with torch.no_grad():
        logits = model(inputs[:1]).logits[0]
    expected = dict(
        tokens=tokens.flatten().tolist(), context=tokens.shape[1], losses=losses, logits=logits.flatten().tolist()
    )
    if mask is not None:
        expected["mask"] = mask
    (folder / "expected.json").write_text(json.dumps(expected))
    tensors = {part: t.contiguous() for n, s in squares.items() for part, t in stored(n, s).items()}
    save_file(tensors, folder / "fisher.safetensors")


if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1])
    cases = {case: CASES[case] for case in sys.argv[2:] or CASES}
    for case, (family, changes) in cases.items():
        make(case, family, changes, out / case)
    print(json.dumps(list(cases)))
