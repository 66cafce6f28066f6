"""Makes small random mixture-of-experts checkpoints with transformers, and what they compute.

usage: language_models_moe.py OUT
As language_models.py, which does the work; experts have squared gradients under the names they are stored by.
"""

import json
import pathlib
import re
import sys

from language_models import make, rope

ROUTED = dict(num_experts=6, num_experts_per_tok=2, moe_intermediate_size=24)

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
            n_routed_experts=8,
            num_experts_per_tok=3,
            moe_intermediate_size=18,
            n_shared_experts=2,
            n_group=4,
            topk_group=2,
            routed_scaling_factor=1.7,
            use_qk_norm=True,
            head_dim=12,
            attention_bias=True,
        ),
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


def stored(name, tensor, family):
    """The parts of a tensor of experts, as save_pretrained names them."""
    kind = re.search(r"experts\.(gate_up_proj|down_proj)$", name)
    if not kind:
        return {name: tensor}
    gate, up, down = ("w1", "w3", "w2") if family == "Mixtral" else ("gate_proj", "up_proj", "down_proj")
    base = name[: kind.start(1)]
    if family == "Mixtral":
        base = base.replace(".mlp.", ".block_sparse_moe.")
    parts = {}
    for e, matrix in enumerate(tensor):
        if kind[1] == "down_proj":
            parts[f"{base}{e}.{down}.weight"] = matrix
        else:
            parts[f"{base}{e}.{gate}.weight"], parts[f"{base}{e}.{up}.weight"] = matrix.chunk(2)
    return parts


if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1])
    for case, (family, changes) in CASES.items():
        make(case, family, changes, out / case, lambda name, tensor: stored(name, tensor, family))
    print(json.dumps(list(CASES)))
