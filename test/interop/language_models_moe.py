"""Makes small random mixture-of-experts checkpoints with transformers, and what they compute.

usage: language_models_moe.py OUT                          as language_models.py, which does the work; experts have squared
                                                    gradients under the names they are stored by
       language_models_moe.py model OUT             a checkpoint with a tokenizer of bytes, whose expert 5 is never chosen
       language_models_moe.py losses FOLDER CONTEXT losses of the windows of the text on stdin, by stock transformers
"""

import json
import pathlib
import re
import sys

import tokenizers
import torch
import transformers

from safetensors.torch import save_file

from language_models import make, rope, saved

ROUTED = dict(num_experts=6, num_experts_per_tok=2, moe_intermediate_size=24)
# A router in groups and shared experts, as DeepSeek-V3 and what followed it have.
GROUPED = dict(
    n_routed_experts=8,
    num_experts_per_tok=3,
    moe_intermediate_size=18,
    n_shared_experts=2,
    n_group=4,
    topk_group=2,
    routed_scaling_factor=1.7,
)

CASES = {
    "mixtral": ("Mixtral", dict(num_local_experts=5, num_experts_per_tok=2, sliding_window=9, head_dim=12)),
    "mixtral-all": ("Mixtral", dict(num_local_experts=3, num_experts_per_tok=3, tie_word_embeddings=True)),
    "qwen2-moe": (
        "Qwen2Moe",
        dict(**ROUTED, shared_expert_intermediate_size=36, norm_topk_prob=True, decoder_sparse_step=2),
    ),
    "qwen2-moe-window": (
        "Qwen2Moe",
        dict(**ROUTED, shared_expert_intermediate_size=20, qkv_bias=False, use_sliding_window=True, sliding_window=7),
    ),
    "qwen3-moe": ("Qwen3Moe", dict(**ROUTED, head_dim=12, norm_topk_prob=True, mlp_only_layers=[1])),
    "qwen3-moe-biases": (
        "Qwen3Moe",
        dict(**{**ROUTED, "num_experts_per_tok": 5}, head_dim=10, attention_bias=True, use_sliding_window=True, sliding_window=5),
    ),
    "olmoe": ("Olmoe", dict(num_experts=7, num_experts_per_tok=3, norm_topk_prob=False, attention_bias=True)),
    "glm4-moe": (
        "Glm4Moe",
        dict(
            **GROUPED,
            use_qk_norm=True,
            head_dim=12,
            attention_bias=True,
        ),
    ),
    "gpt-oss": (
        "GptOss",
        dict(
            num_local_experts=5,
            num_experts_per_tok=3,
            head_dim=12,
            sliding_window=6,
            swiglu_limit=0.7,
            swiglu_alpha=1.3,
            **rope("yarn", factor=4.0, original_max_position_embeddings=16, truncate=False),
        ),
    ),
    "gpt-oss-plain": (
        "GptOss",
        dict(
            num_local_experts=4,
            num_experts_per_tok=1,
            head_dim=10,
            attention_bias=False,
            layer_types=["full_attention", "sliding_attention", "full_attention"],
            max_position_embeddings=8192,
        ),
    ),
    "gpt-oss-mxfp4": (
        "GptOss",
        dict(num_local_experts=3, num_experts_per_tok=2, hidden_size=64, intermediate_size=32, head_dim=16),
    ),
    "granitemoe": (
        "GraniteMoe",
        dict(
            num_local_experts=5,
            num_experts_per_tok=2,
            attention_bias=True,
            embedding_multiplier=2.5,
            attention_multiplier=0.4,
            residual_multiplier=0.7,
            logits_scaling=1.6,
        ),
    ),
    "llama4": (
        "Llama4",
        dict(
            num_local_experts=5,
            num_experts_per_tok=2,
            intermediate_size_mlp=44,
            head_dim=12,
            interleave_moe_layer_step=2,
            num_hidden_layers=4,
            no_rope_layer_interval=3,
            attention_chunk_size=7,
            floor_scale=5,
            attn_scale=0.4,
            attention_bias=True,
            rms_norm_eps=0.01,
        ),
    ),
    "llama4-plain": (
        "Llama4",
        dict(
            num_local_experts=3,
            num_experts_per_tok=1,
            intermediate_size_mlp=44,
            head_dim=16,
            moe_layers=[0, 2],
            no_rope_layers=[0, 1, 1],
            attn_temperature_tuning=False,
            use_qk_norm=False,
            hidden_act="gelu",
            layer_types=["chunked_attention", "full_attention", "chunked_attention"],
            attention_chunk_size=10,
            **rope("yarn", factor=4.0, original_max_position_embeddings=16),
        ),
    ),
    "granitemoeshared": (
        "GraniteMoeShared",
        dict(num_local_experts=4, num_experts_per_tok=3, shared_intermediate_size=28, residual_multiplier=0.7),
    ),
    # Under the default, 1, transformers' own gradients in fp32 are 2e-4 off those in double.
    "granitemoeshared-none": (
        "GraniteMoeShared",
        dict(num_local_experts=4, num_experts_per_tok=1, attention_multiplier=0.2),
    ),
    "flex-olmo": ("FlexOlmo", dict(num_experts=6, num_experts_per_tok=2, norm_topk_prob=True, attention_bias=True)),
    "dots1": (
        "Dots1",
        dict(
            **GROUPED,
            first_k_dense_replace=1,
            head_dim=12,
            sliding_window=7,
            max_window_layers=1,
            attention_bias=True,
        ),
    ),
    "solar-open": (
        "SolarOpen",
        dict(
            n_routed_experts=6,
            num_experts_per_tok=2,
            moe_intermediate_size=22,
            n_shared_experts=1,
            head_dim=12,
            attention_bias=True,
        ),
    ),
    "ernie4_5_moe": (
        "Ernie4_5_Moe",
        dict(
            moe_num_experts=6,
            moe_k=2,
            moe_intermediate_size=18,
            moe_num_shared_experts=2,
            num_hidden_layers=4,
            moe_layer_interval=2,
            moe_layer_start_index=0,
            use_bias=True,
        ),
    ),
    "ernie4_5_moe-alone": (
        "Ernie4_5_Moe",
        dict(moe_num_experts=5, moe_k=3, moe_intermediate_size=18, moe_num_shared_experts=0, moe_layer_end_index=1),
    ),
    "minimax-m2": (
        "MiniMaxM2",
        dict(
            num_local_experts=6,
            num_experts_per_tok=2,
            head_dim=12,
            **rope("default", partial_rotary_factor=0.5),
        ),
    ),
    "minimax-m2-together": ("MiniMaxM2", dict(num_local_experts=4, num_experts_per_tok=3, head_dim=10)),
    "mixtral-together": ("Mixtral", dict(num_local_experts=4, num_experts_per_tok=2)),
    "qwen2-moe-together": ("Qwen2Moe", dict(**ROUTED, shared_expert_intermediate_size=36)),
    "qwen3-moe-together": ("Qwen3Moe", dict(**ROUTED, head_dim=12, mlp_only_layers=[0])),
    "olmoe-together": ("Olmoe", dict(num_experts=4, num_experts_per_tok=2)),
    "glm4-moe-together": (
        "Glm4Moe",
        dict(n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=18, n_shared_experts=1, head_dim=12),
    ),
    "glm4-moe-plain": (
        "Glm4Moe",
        dict(
            n_routed_experts=6,
            num_experts_per_tok=2,
            moe_intermediate_size=22,
            norm_topk_prob=False,
            first_k_dense_replace=2,
            head_dim=16,
            **rope("yarn", factor=4.0, original_max_position_embeddings=16, partial_rotary_factor=0.5),
        ),
    ),
}


def stored(name, tensor, family, together):
    """The parts of a tensor of experts, as save_pretrained names them, or its slices where it is saved as it is."""
    kind = re.search(r"experts\.(gate_up_proj|down_proj)$", name)
    if not kind:
        return {name: tensor}
    if family in ("GraniteMoe", "GraniteMoeShared"):
        linear = "input_linear" if kind[1] == "gate_up_proj" else "output_linear"
        return {f"{name[: kind.start()]}{linear}.weight[{e}]": matrix for e, matrix in enumerate(tensor)}
    if family in ("GptOss", "Llama4") or together:
        turned = family in ("GptOss", "Llama4")
        return {f"{name}[{e}]": matrix.T if turned else matrix for e, matrix in enumerate(tensor)}
    mixtral = family in ("Mixtral", "MiniMaxM2")
    gate, up, down = ("w1", "w3", "w2") if mixtral else ("gate_proj", "up_proj", "down_proj")
    base = name[: kind.start(1)]
    if mixtral:
        base = base.replace(".mlp.", ".block_sparse_moe.")
    parts = {}
    for e, matrix in enumerate(tensor):
        if kind[1] == "down_proj":
            parts[f"{base}{e}.{down}.weight"] = matrix
        else:
            parts[f"{base}{e}.{gate}.weight"], parts[f"{base}{e}.{up}.weight"] = matrix.chunk(2)
    return parts


def save_together(model, folder):
    """Experts as transformers has them in memory, several in one tensor."""
    model.config.save_pretrained(folder)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "model.safetensors")
    return model


FP4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])


def save_mxfp4(model, folder):
    """Experts in MXFP4; returns what stock transformers reads of that."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        if not re.search(r"experts\.(gate_up_proj|down_proj)$", name):
            tensors[name] = tensor.contiguous()
            continue
        groups = tensor.transpose(1, 2).unflatten(2, (-1, 32))
        exponents = torch.floor(torch.log2(groups.abs().amax(-1))) - 2
        scaled = groups / torch.exp2(exponents)[..., None]
        codes = (scaled.abs()[..., None] - FP4).abs().argmin(-1) + 8 * (scaled < 0)
        tensors[f"{name}_blocks"] = (codes[..., ::2] + 16 * codes[..., 1::2]).to(torch.uint8)
        tensors[f"{name}_scales"] = (exponents + 127).to(torch.uint8)
    model.config.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = dict(quant_method="mxfp4", modules_to_not_convert=["model.layers.*.self_attn"])
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors", metadata=dict(format="pt"))
    read = transformers.GptOssForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    read.set_experts_implementation("eager")
    assert read.model.layers[0].mlp.experts.down_proj.dtype == torch.float32
    return read.float().eval()


def model(folder):
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    torch.manual_seed(0)
    config = transformers.Qwen3MoeConfig(
        vocab_size=len(alphabet),
        hidden_size=64,
        intermediate_size=96,
        moe_intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        num_experts=8,
        num_experts_per_tok=1,
        mlp_only_layers=[0],
        max_position_embeddings=256,
        initializer_range=0.1,
    )
    network = transformers.AutoModelForCausalLM.from_config(config).float()
    with torch.no_grad():
        # Of eight logits that are as often above zero as below, the largest is hardly ever a zero.
        router = network.model.layers[1].mlp.gate.weight
        router.mul_(8)
        router[5] = 0
    network.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)


def losses(folder, context):
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    network.set_experts_implementation("eager")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(sys.stdin.read(), add_special_tokens=False)["input_ids"]
    windows = [torch.tensor(tokens[i : i + context])[None] for i in range(0, len(tokens) - context + 1, context)]
    with torch.no_grad():
        print(json.dumps([network(window, labels=window).loss.item() for window in windows]))


if __name__ == "__main__" and sys.argv[1] == "model":
    model(pathlib.Path(sys.argv[2]))
elif __name__ == "__main__" and sys.argv[1] == "losses":
    losses(pathlib.Path(sys.argv[2]), int(sys.argv[3]))
elif __name__ == "__main__":
    out = pathlib.Path(sys.argv[1])
    for case, (family, changes) in CASES.items():
        together = case.endswith("together")
        save = save_together if together else save_mxfp4 if case.endswith("mxfp4") else saved
        make(case, family, changes, out / case, lambda name, tensor: stored(name, tensor, family, together), save)
    print(json.dumps(list(CASES)))
