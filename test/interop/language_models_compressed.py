"""Small checkpoints with a tokenizer of bytes, and their losses by stock transformers.

usage: language_models_compressed.py models   makes those of stdin: JSON with the folder of each case
       language_models_compressed.py losses   losses of the windows on stdin, by folder: a JSON list with folder, tokens, context
                                              and, where masked tokens are predicted, mask; masked ones are complements
"""

import json
import pathlib
import sys

import tokenizers
import torch
import transformers

SPECIAL = ["<s>", "</s>", "<pad>", "<mask>"]
SIZES = dict(vocab_size=260, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, initializer_range=0.1)
CASES = {
    "gemma3": transformers.Gemma3Config(
        text_config=dict(**SIZES, intermediate_size=96, num_key_value_heads=2, head_dim=16, sliding_window=20),
        vision_config=dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28),
        mm_tokens_per_image=4,
    ),
    "gpt2": transformers.GPT2Config(
        vocab_size=260, n_embd=64, n_layer=2, n_head=4, n_positions=64, initializer_range=0.1, bos_token_id=0, eos_token_id=1
    ),
    "gpt-oss": transformers.GptOssConfig(
        **SIZES,
        intermediate_size=48,
        num_key_value_heads=2,
        head_dim=16,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=20,
        max_position_embeddings=256,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0),
    ),
    "llama4": transformers.Llama4TextConfig(
        **SIZES,
        intermediate_size=48,
        intermediate_size_mlp=96,
        num_key_value_heads=2,
        head_dim=16,
        num_local_experts=4,
        interleave_moe_layer_step=2,
        no_rope_layer_interval=2,
        attention_chunk_size=20,
        floor_scale=10,
    ),
    "phi3": transformers.Phi3Config(**SIZES, intermediate_size=96, num_key_value_heads=2, pad_token_id=2),
    "roberta": transformers.RobertaConfig(**SIZES, intermediate_size=96, max_position_embeddings=64, pad_token_id=2),
}


def kind(config):
    if config.model_type == "gemma3":
        return transformers.Gemma3ForConditionalGeneration
    return transformers.RobertaForMaskedLM if config.model_type == "roberta" else transformers.AutoModelForCausalLM


def make(case, folder):
    torch.manual_seed(0)
    alphabet = SPECIAL + sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    config = CASES[case]
    network = kind(config)
    network = network.from_config(config) if network is transformers.AutoModelForCausalLM else network(config)
    network.float().save_pretrained(folder)
    names = dict(bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    if case == "roberta":
        names.update(cls_token="<s>", sep_token="</s>", mask_token="<mask>")
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)


def losses(windows):
    config = transformers.AutoConfig.from_pretrained(windows["folder"])
    network = kind(config).from_pretrained(windows["folder"], dtype=torch.float32).eval()
    out = []
    for row in torch.tensor(windows["tokens"]).view(-1, windows["context"]):
        labels = torch.where(row < 0, ~row, -100) if "mask" in windows else row
        tokens = torch.where(row < 0, windows.get("mask", 0), row)
        with torch.no_grad():
            out.append(network(tokens[None], labels=labels[None]).loss.item())
    return out


asked = json.load(sys.stdin)
if sys.argv[1] == "models":
    for case, folder in asked.items():
        make(case, pathlib.Path(folder))
else:
    print(json.dumps({windows["folder"]: losses(windows) for windows in asked}))
