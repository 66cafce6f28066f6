"""Makes small random checkpoints with legal and odd configurations, and the losses stock transformers gives for them.

usage: model_cases.py OUT
OUT/<case>/ is a checkpoint. OUT/cases.json has, by case, the tokens' context, whether the product is to run it ("equal") or
to refuse it ("refused"), and the loss, or the error where transformers has none: it fails, or makes up weights that are missing.
"""

import json
import pathlib
import shutil
import sys
import warnings

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

transformers.logging.set_verbosity_error()
warnings.simplefilter("ignore")
torch.set_num_threads(1)

BASE = dict(
    vocab_size=97,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    initializer_range=0.25,
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=None,
    head_dim=16,
)
SEQUENCES = 2
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
QWEN = ("qwen2", "qwen3")
NO_ROPE = ("rope_parameters",)

cases = []


def case(name, family, expected, *, patch=None, drop=(), context=48, made=None, change=None, renamed=None, base=False):
    """made: changes to the configuration the model is made with; patch, drop: to the file; change: to its tensors;
    renamed: to their names, by which transformers itself does not find them."""
    if renamed is not None:
        change = lambda tensors: {renamed(name): values for name, values in tensors.items()}
    cases.append((name, family, expected, patch or {}, drop, context, made or {}, change, renamed is not None, base))


def rope(kind, **values):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 1e4, **values}}


def before(**scaling):
    """As transformers 4 wrote it."""
    return {"rope_theta": 5e4, "rope_scaling": scaling}


LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
for f in FAMILIES:
    case(f"{f}", f, "equal")
    case(f"{f}-tied", f, "equal", made=dict(tie_word_embeddings=True))
    case(f"{f}-one-kv-head", f, "equal", made=dict(num_key_value_heads=1))
    case(f"{f}-kv-null", f, "refused" if f == "mistral" else "equal", made=dict(num_key_value_heads=4), patch=dict(num_key_value_heads=None))
    case(f"{f}-act-null", f, "refused", patch=dict(hidden_act=None))
    case(f"{f}-tie-null", f, "refused", patch=dict(tie_word_embeddings=None))
    case(f"{f}-head-null", f, "refused" if f in QWEN else "equal", patch=dict(head_dim=None))
    case(f"{f}-eps", f, "equal", patch=dict(rms_norm_eps=1e-2))
    case(f"{f}-swish", f, "equal", patch=dict(hidden_act="swish"))
    case(f"{f}-gelu", f, "refused", patch=dict(hidden_act="gelu"))
    case(f"{f}-theta-now", f, "equal", patch=rope("default", rope_theta=1e6))
    case(f"{f}-theta-before", f, "equal", patch=dict(rope_theta=5e5), drop=NO_ROPE)
    case(f"{f}-linear-now", f, "equal", patch=rope("linear", factor=4.0))
    case(f"{f}-linear-before", f, "equal", patch=before(type="linear", factor=4.0), drop=NO_ROPE)
    case(f"{f}-both-scalings", f, "equal", patch=dict(rope_scaling=dict(rope_type="linear", factor=4.0), **rope("default")))
    case(f"{f}-dynamic", f, "equal", context=96, patch=rope("dynamic", factor=2.0))
    case(f"{f}-dynamic-short", f, "equal", patch=rope("dynamic", factor=2.0))
    case(f"{f}-llama3", f, "equal", patch=rope("llama3", original_max_position_embeddings=32, **LLAMA3))
    case(f"{f}-llama3-no-length", f, "equal", patch=before(rope_type="llama3", **LLAMA3), drop=NO_ROPE)
    yarn = dict(factor=4.0, original_max_position_embeddings=16)
    case(f"{f}-yarn", f, "equal", patch=rope("yarn", **yarn))
    case(f"{f}-yarn-before", f, "equal", patch=before(type="yarn", **yarn), drop=NO_ROPE)
    case(f"{f}-yarn-outer-length", f, "equal", patch=dict(original_max_position_embeddings=32, **rope("yarn", **yarn)))
    case(f"{f}-yarn-mscale", f, "equal", patch=rope("yarn", mscale=1.0, mscale_all_dim=0.5, beta_fast=16, beta_slow=2, **yarn))
    case(f"{f}-yarn-unknown-key", f, "equal", patch=before(type="yarn", attn_factor=1.3, **yarn), drop=NO_ROPE)
    case(f"{f}-yarn-no-truncation", f, "refused", patch=rope("yarn", truncate=False, **yarn))
    case(f"{f}-longrope", f, "refused", patch=rope("longrope", factor=4.0, short_factor=[1.0] * 8, long_factor=[2.0] * 8))
    case(f"{f}-partial", f, "refused", patch=dict(partial_rotary_factor=0.5))
    case(f"{f}-window", f, "equal", patch=dict(sliding_window=16, use_sliding_window=True, max_window_layers=0), drop=("layer_types",))
    case(f"{f}-window-half", f, "equal" if f in ("llama", "mistral") else "refused", patch=dict(sliding_window=16, use_sliding_window=True, max_window_layers=1), drop=("layer_types",))
    case(f"{f}-window-as-wide", f, "equal", patch=dict(sliding_window=48, use_sliding_window=True, max_window_layers=1), drop=("layer_types",))
    sliding = dict(sliding_window=16, use_sliding_window=True)
    case(f"{f}-types-sliding", f, "equal", patch=dict(layer_types=["sliding_attention"] * 2, **sliding))
    case(f"{f}-types-full", f, "equal", patch=dict(layer_types=["full_attention"] * 2, **sliding))
    case(f"{f}-types-mixed", f, "equal" if f == "llama" else "refused", patch=dict(layer_types=["sliding_attention", "full_attention"], **sliding))
    case(f"{f}-beyond-positions", f, "equal", context=96)
    case(f"{f}-other-keys", f, "equal", patch=dict(logit_scale=0.5, final_logit_softcapping=5.0, embedding_multiplier=3.0, pretraining_tp=2))
    case(f"{f}-both-ways", f, "refused", patch=dict(is_causal=False))
    case(f"{f}-tied-with-head", f, "equal", patch=dict(tie_word_embeddings=True))
    case(f"{f}-untied-without-head", f, "refused", made=dict(tie_word_embeddings=True), patch=dict(tie_word_embeddings=False))
    case(f"{f}-bare", f, "equal", made=dict(tie_word_embeddings=True), base=True)
    case(f"{f}-prefixed", f, "equal", renamed=lambda n: n.replace("model.", "model.language_model.", 1))
    case(f"{f}-f64", f, "equal", change=lambda t: {n: v.double() for n, v in t.items()})
    case(f"{f}-mixed-dtypes", f, "equal", change=lambda t: {n: v.half() if v.ndim == 2 else v for n, v in t.items()})
    extra = {"model.rotary_emb.inv_freq": torch.ones(8), "model.layers.7.mlp.up_proj.weight": torch.ones(4, 4)}
    case(f"{f}-extra-tensors", f, "equal", change=lambda t: {**t, **extra})
    case(f"{f}-fewer-layers", f, "equal", patch=dict(num_hidden_layers=1), drop=("layer_types",))
    case(f"{f}-more-layers", f, "refused", patch=dict(num_hidden_layers=3), drop=("layer_types",))
    case(f"{f}-other-width", f, "refused", patch=dict(intermediate_size=128))
case("llama-biases", "llama", "equal", made=dict(attention_bias=True, mlp_bias=True))
case("qwen3-biases", "qwen3", "equal", made=dict(attention_bias=True))
for f in QWEN:
    case(f"{f}-window-not-used", f, "equal", patch=dict(sliding_window=16), drop=("layer_types",))
    case(f"{f}-types-sliding-not-used", f, "refused", patch=dict(layer_types=["sliding_attention"] * 2, sliding_window=16))
for f in ("gemma2", "olmo2", "granite", "starcoder2", "stablelm", "ministral"):
    case(f"{f}", f, "equal")
for f in ("gpt2", "mixtral", "phi3", "cohere"):
    case(f"{f}", f, "refused")

out = pathlib.Path(sys.argv[1])
models = {}


def model_folder(family, made, base):
    """The checkpoint that cases of one configuration are copies of."""
    key = (family, json.dumps(made, sort_keys=True), base)
    if key in models:
        return models[key]
    torch.manual_seed(len(models))
    config = AutoConfig.for_model(family, **{**BASE, **made})
    model = (AutoModel if base else AutoModelForCausalLM).from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            # Norms and biases are made all ones and zeros, which would hide how they are used.
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    folder = out / f"_{len(models)}"
    model.save_pretrained(folder)
    models[key] = folder
    return folder


def loss_of(folder, context):
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    if info["missing_keys"] or info["mismatched_keys"]:
        raise ValueError(f"missing or mismatched: {sorted(map(str, info['missing_keys']))[:2]}")
    torch.manual_seed(7)
    tokens = torch.randint(0, 97, (SEQUENCES, context))
    with torch.no_grad():
        losses = [model(row[None], labels=row[None]).loss.double().item() for row in tokens]
    return tokens.flatten().tolist(), sum(losses) / SEQUENCES


results = {}
for name, family, expected, patch, drop, context, made, change, renamed, base in cases:
    source = model_folder(family, made, base)
    folder = out / name
    shutil.copytree(source, folder)
    path = folder / "config.json"
    config = {k: v for k, v in json.loads(path.read_text()).items() if k not in drop}
    path.write_text(json.dumps({**config, **patch}))
    if change is not None:
        weights = folder / "model.safetensors"
        save_file({n: v.contiguous() for n, v in change(load_file(weights)).items()}, weights, {"format": "pt"})
    results[name] = dict(expected=expected, context=context)
    try:
        results[name]["tokens"], results[name]["loss"] = loss_of(source if renamed else folder, context)
    except Exception as error:
        results[name]["error"] = f"{type(error).__name__}: {error}"[:300]
(out / "cases.json").write_text(json.dumps(results))
