"""
Families of models whose GGUF files llama.cpp is to run as transformers runs their checkpoints.

usage: families.py make OUT TOKENIZER [CASE...]   small random checkpoints OUT/<case>, with what transformers computes and the
                                          tokenizer of another folder; prints the cases
       families.py compare OUT CASE...    loads OUT/<case>-gguf in llama.cpp: prints the relative RMS of its logits' differences
       families.py transformers OUT CASE...   the same in transformers, which is given the checkpoint's configuration
       families.py adapter WHOLE BASE LORA   the same of WHOLE and of BASE with the adapter, and of BASE alone: three GGUF files
"""

import ctypes
import json
import pathlib
import shutil
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

SIZES = dict(vocab_size=2048, hidden_size=64, intermediate_size=96, num_hidden_layers=4, max_position_embeddings=128)
OLD = dict(vocab_size=2048, n_embd=64, n_layer=3, n_head=4, n_positions=128)
ROUTED = dict(num_experts=6, num_experts_per_tok=2, moe_intermediate_size=32)


SIGMOID = dict(
    n_routed_experts=6,
    num_experts_per_tok=2,
    moe_intermediate_size=32,
    n_shared_experts=2,
    n_group=1,
    topk_group=1,
    routed_scaling_factor=1.7,
)


def cases():
    from language_models import GRANITE, rope

    llama3 = rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
    yarn = rope("yarn", factor=4.0, original_max_position_embeddings=16)
    factors = dict(short_factor=[1.0 + 0.1 * i for i in range(8)], long_factor=[1.0 + i for i in range(8)])
    return {
        "llama": ("Llama", dict(attention_bias=True, mlp_bias=True, head_dim=24)),
        "llama-llama3": ("Llama", llama3),
        "llama-yarn": ("Llama", yarn),
        "mistral-window": ("Mistral", dict(sliding_window=40)),
        "mixtral": ("Mixtral", dict(num_local_experts=5, num_experts_per_tok=2)),
        "qwen2": ("Qwen2", dict(tie_word_embeddings=True)),
        "qwen2-moe": ("Qwen2Moe", dict(**ROUTED, shared_expert_intermediate_size=48)),
        "qwen3": ("Qwen3", dict(head_dim=32)),
        "qwen3-moe": ("Qwen3Moe", dict(**ROUTED, head_dim=32, norm_topk_prob=True)),
        "gemma": ("Gemma", dict(head_dim=32, tie_word_embeddings=True)),
        "gemma2": (
            "Gemma2",
            dict(head_dim=32, query_pre_attn_scalar=32, sliding_window=7, tie_word_embeddings=True),
        ),
        "gemma3": (
            "Gemma3",
            dict(
                head_dim=32,
                query_pre_attn_scalar=32,
                num_hidden_layers=7,
                sliding_window=7,
                tie_word_embeddings=True,
                rope_parameters=dict(
                    full_attention=dict(rope_type="linear", rope_theta=3000.0, factor=4.0),
                    sliding_attention=dict(rope_type="default", rope_theta=10000.0),
                ),
            ),
        ),
        # Of files whose name says phi3, llama.cpp expects tokens that the tokenizer here has not.
        "fused": ("Phi3", dict()),
        "fused-longrope": (
            "Phi3",
            dict(
                max_position_embeddings=512,
                original_max_position_embeddings=256,
                rope_parameters=dict(rope_type="longrope", rope_theta=1000.0, **factors),
            ),
        ),
        "olmo": ("Olmo", dict(clip_qkv=2.0)),
        "olmo2": ("Olmo2", dict()),
        "olmoe": ("Olmoe", dict(num_experts=7, num_experts_per_tok=3, norm_topk_prob=False, num_key_value_heads=4)),
        "granite": ("Granite", GRANITE),
        "smollm3": ("SmolLM3", dict(num_hidden_layers=5)),
        "seed-oss": ("SeedOss", dict(head_dim=24)),
        "arcee": ("Arcee", dict()),
        "starcoder2": ("Starcoder2", dict(sliding_window=4096)),
        "stablelm": ("StableLm", dict(use_qkv_bias=True, rope_parameters=dict(rope_type="default", rope_theta=500.0, partial_rotary_factor=0.5))),
        "stablelm-parallel": ("StableLm", dict(use_parallel_residual=True)),
        "nemotron": ("Nemotron", dict(norm_eps=0.01, mlp_bias=True, attention_bias=True)),
        "gpt2": ("GPT2", OLD),
        "gpt-bigcode": ("GPTBigCode", OLD),
        "falcon": ("Falcon", dict(tie_word_embeddings=True)),
        "cohere": ("Cohere", dict(logit_scale=0.4, layer_norm_eps=0.01, tie_word_embeddings=True)),
        "cohere2": ("Cohere2", dict(sliding_window=6, num_hidden_layers=5, tie_word_embeddings=True)),
        "glm4": ("Glm4", dict(head_dim=16, attention_bias=True)),
        "glm": ("Glm", dict(head_dim=16, attention_bias=True)),
        "gpt-neox": ("GPTNeoX", dict(num_key_value_heads=4, layer_norm_eps=0.01)),
        "gpt-neox-sequential": ("GPTNeoX", dict(use_parallel_residual=False, rope_parameters=dict(rope_type="default", rope_theta=500.0, partial_rotary_factor=0.5))),
        "bloom": ("Bloom", dict(n_layer=3, n_head=4, tie_word_embeddings=True)),
        "mpt": ("Mpt", dict(d_model=64, n_layers=3, n_heads=4, max_seq_len=128, tie_word_embeddings=True)),
        "phi": ("Phi", dict(layer_norm_eps=0.01)),
        "olmo3": (
            "Olmo3",
            dict(
                num_hidden_layers=5,
                sliding_window=6,
                rope_parameters=dict(
                    full_attention=dict(yarn["rope_parameters"], rope_theta=1000.0),
                    sliding_attention=dict(rope_type="default", rope_theta=1000.0),
                ),
            ),
        ),
        "ministral": ("Ministral", dict(head_dim=16, sliding_window=96)),
        "ernie4-5": ("Ernie4_5", dict(head_dim=16, use_bias=False)),
        "exaone4": ("Exaone4", dict(head_dim=16, sliding_window=None, layer_types=["full_attention"] * 4)),
        "jais2": ("Jais2", dict()),
        "gpt-oss": (
            "GptOss",
            dict(
                num_local_experts=4,
                num_experts_per_tok=2,
                head_dim=24,
                sliding_window=7,
                rope_parameters=dict(yarn["rope_parameters"], truncate=True),
            ),
        ),
        "granitemoe": (
            "GraniteMoe",
            dict(num_local_experts=5, num_experts_per_tok=2, logits_scaling=2.5, attention_multiplier=0.2),
        ),
        "granitemoe-shared": (
            "GraniteMoeShared",
            dict(num_local_experts=5, num_experts_per_tok=2, shared_intermediate_size=48, attention_multiplier=0.2),
        ),
        "glm4-moe": ("Glm4Moe", dict(**SIGMOID, head_dim=24, use_qk_norm=True, attention_bias=True)),
        "glm4-moe-unnormed": ("Glm4Moe", dict(**SIGMOID, head_dim=24, norm_topk_prob=False, first_k_dense_replace=2)),
        "solar-open": ("SolarOpen", dict(**SIGMOID, head_dim=24)),
        "dots1": ("Dots1", dict(**SIGMOID, head_dim=24, num_key_value_heads=4, first_k_dense_replace=1, sliding_window=128, norm_topk_prob=True)),
    }


def make(out, tokenizer, names):
    import language_models

    made = {name: case for name, case in cases().items() if not names or name in names}
    for case, (family, changes) in made.items():
        language_models.make(case, family, {**SIZES, **changes}, out / case)
        for file in pathlib.Path(tokenizer).glob("token*.json"):
            shutil.copy(file, out / case)
    return list(made)


def logits_of(file, tokens, adapter=None):
    import llama_cpp

    options = llama_cpp.llama_model_default_params()
    options.n_gpu_layers = 0
    # Buffers with packed weights (AMX) crash on some types.
    options.use_extra_bufts = False
    model = llama_cpp.llama_model_load_from_file(str(file).encode(), options)
    if not model:
        return None
    width = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = 64
    settings.n_threads = settings.n_threads_batch = 2
    # Keys and values in F32, so that nothing but its arithmetic differs.
    settings.type_k = settings.type_v = 0
    settings.flash_attn_type = 0
    context = llama_cpp.llama_init_from_model(model, settings)
    if adapter:
        loaded = llama_cpp.llama_adapter_lora_init(model, str(adapter).encode())
        adapters = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(loaded)
        if llama_cpp.llama_set_adapters_lora(context, adapters, 1, (ctypes.c_float * 1)(1.0)) != 0:
            return None
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
        batch.seq_id[i][0] = 0
    if llama_cpp.llama_decode(context, batch) != 0:
        return None
    rows = [np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, i), (width,)).copy() for i in range(len(tokens))]
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return np.stack(rows)


def compare(out, names):
    import llama_cpp

    llama_cpp.llama_backend_init()
    said = []
    log = llama_cpp.llama_log_callback(lambda level, line, _: said.append(line.decode()) if level >= 3 else None)
    llama_cpp.llama_log_set(log, ctypes.c_void_p())
    found = {}
    for name in names:
        expected = json.loads((out / name / "expected.json").read_text())
        tokens = expected["tokens"][: expected["context"]]
        said.clear()
        ours = np.array(expected["logits"]).reshape(len(tokens), -1)
        theirs = logits_of(sorted((out / f"{name}-gguf").glob("*.gguf"))[0], tokens)
        if theirs is None:
            found[name] = "".join(said)[-300:]
        else:
            found[name] = apart(theirs, ours)
    return found


def in_transformers(out, names):
    import torch
    import transformers

    found = {}
    for name in names:
        expected = json.loads((out / name / "expected.json").read_text())
        tokens = expected["tokens"][: expected["context"]]
        folder = out / f"{name}-gguf"
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            gguf_file=next(folder.glob("*.gguf")).name,
            config=transformers.AutoConfig.from_pretrained(out / name),
            dtype=torch.float32,
        )
        with torch.no_grad():
            theirs = model.eval()(torch.tensor([tokens])).logits[0].numpy()
        found[name] = apart(theirs, np.array(expected["logits"]).reshape(theirs.shape))
    return found


def apart(theirs, ours):
    return float(np.sqrt(np.square(theirs - ours).mean() / np.square(ours - ours.mean()).mean()))


def adapter(whole, base, lora):
    tokens = [(i * 677 + 31) % 2048 for i in range(48)]
    wanted = logits_of(whole, tokens)
    return [apart(logits_of(base, tokens, lora), wanted), apart(logits_of(base, tokens), wanted)]


if __name__ == "__main__":
    command, first, *rest = sys.argv[1:]
    if command == "make":
        print(json.dumps(make(pathlib.Path(first), rest[0], rest[1:])))
    elif command == "compare":
        print(json.dumps(compare(pathlib.Path(first), rest)))
    elif command == "transformers":
        print(json.dumps(in_transformers(pathlib.Path(first), rest)))
    else:
        print(json.dumps(adapter(first, *rest)))
