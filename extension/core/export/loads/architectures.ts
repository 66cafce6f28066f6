/** Architectures that programs were seen to know, by model_type of config.json or general.architecture of GGUF. */

const words = (text: string): ReadonlySet<string> => new Set(text.trim().split(/\s+/));

/** transformers 5.24.0, models/auto/modeling_auto.py, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, without those of images and speech. */
export const TRANSFORMERS = words(`
  afmoe apertus arcee bamba bart bert biogpt bitnet bloom camembert codegen cohere cohere2 cohere2_moe cwm dbrx deepseek_v2
  deepseek_v3 deepseek_v32 deepseek_v4 diffllama doge dots1 electra ernie ernie4_5 ernie4_5_moe exaone exaone4 exaone_moe falcon
  falcon_h1 falcon_mamba flex_olmo gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_text gemma4 gemma4_text glm glm4 glm4_moe
  glm4_moe_lite glm_moe_dsa gpt2 gpt_bigcode gpt_neo gpt_neox gpt_neox_japanese gpt_oss gptj granite granite_swa granitemoe
  granitemoehybrid granitemoeshared helium hunyuan_v1_dense hunyuan_v1_moe internlm3 jais2 jamba jetmoe kimi_linear lfm2
  lfm2_moe llama llama4 llama4_text longcat_flash mamba mamba2 minicpm3 minimax minimax_m2 ministral ministral3 mistral mixtral
  modernbert-decoder mpt nanochat nemotron nemotron_h olmo olmo2 olmo3 olmo_hybrid olmoe openai-gpt opt persimmon phi phi3
  phi4_multimodal phimoe qwen2 qwen2_moe qwen3 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen3_moe qwen3_next
  recurrent_gemma roberta rwkv seed_oss smollm3 solar_open stablelm starcoder2 vaultgemma xglm xlm-roberta xlnet xlstm youtu
  zamba zamba2
  distilbert modernbert`);

/** transformers 5.24.0, integrations/ggml.py, GGUF_CONFIG_MAPPING. */
export const TRANSFORMERS_GGUF = words(`
  bloom deci falcon gemma2 gemma3 gemma4 gpt2 gpt_oss lfm2 llama mamba minimax_m2 mistral nemotron phi3 qwen2 qwen2_moe qwen2moe
  qwen3 qwen3_moe qwen3moe stablelm starcoder2 t5 umt5`);

/** llama.cpp at commit 0c1e57098, src/llama-arch.cpp. */
export const LLAMA_CPP = words(`
  apertus arcee baichuan bert bloom chatglm cohere2 command-r dbrx deepseek deepseek2 dots1 ernie4_5 exaone exaone4 falcon falcon-h1
  gemma gemma2 gemma3 gemma3n gemma4 glm4 glm4moe gpt-oss gpt2 gptj gptneox granite granitehybrid granitemoe grok
  hunyuan-dense internlm2 jais jais2 jamba lfm2 lfm2moe llama llama4 mamba mamba2 minicpm minicpm3 mistral3 mistral4 modern-bert mpt
  nemotron nemotron_h olmo olmo2 olmoe openelm orion phi2 phi3 phimoe plamo plamo2 qwen2 qwen2moe qwen2vl qwen3 qwen3moe
  qwen3next qwen3vl seed_oss smollm3 stablelm starcoder starcoder2 xverse`);

/** vLLM, vllm/model_executor/models/registry.py, text generation: families that have classes of their own. */
export const VLLM = words(`
  afmoe apertus arcee bamba bloom cohere cohere2 cwm dbrx deepseek_v2 deepseek_v3 deepseek_v32 dots1 ernie4_5 ernie4_5_moe exaone
  exaone4 falcon falcon_h1 falcon_mamba flex_olmo gemma gemma2 gemma3 gemma3_text gemma3n qwen3_next glm glm4 glm4_moe gpt_oss
  gpt2 gpt_bigcode gptj gpt_neox granite granitemoe granitemoehybrid granitemoeshared hunyuan_v1_dense hunyuan_v1_moe internlm3
  jais2 jamba kimi_linear lfm2 lfm2_moe llama llama4_text longcat_flash mamba mamba2 minicpm3 minimax minimax_m2 mistral mixtral
  mpt nemotron nemotron_h olmo olmo2 olmo3 olmoe opt persimmon phi phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_moe seed_oss stablelm
  starcoder2 zamba2`);

/** mlx-lm 0.32.2, mlx_lm/models; utils.py, MODEL_REMAPPING: mistral is run as llama. */
export const MLX_LM = words(`
  afmoe apertus baichuan_m1 bitnet cohere cohere2 dbrx deepseek deepseek_v2 deepseek_v3 deepseek_v32 dots1 ernie4_5 ernie4_5_moe
  exaone exaone4 exaone_moe falcon_h1 gemma gemma2 gemma3 gemma3_text gemma3n gemma4 gemma4_text glm glm4 glm4_moe glm4_moe_lite
  glm_moe_dsa gpt2 gpt_bigcode gpt_neox gpt_oss gptj granite granitemoe granitemoehybrid helium hunyuan hunyuan_v1_dense
  internlm2 internlm3 jamba kimi_linear lfm2 lfm2_moe llama llama4 llama4_text longcat_flash mamba mamba2 mimo minicpm minicpm3
  minimax ministral3 mistral mistral3 mistral4 mixtral nanochat nemotron nemotron_h olmo olmo2 olmo3 olmo_hybrid olmoe openelm phi phi3
  phi3small phimoe plamo plamo2 qwen2 qwen2_moe qwen3 qwen3_5 qwen3_5_moe qwen3_moe qwen3_next recurrent_gemma seed_oss smollm3
  stablelm starcoder2`);

/** exllamav3 1.4.1, exllamav3/architecture: those of text alone. */
export const EXLLAMAV3 = words(`
  afmoe apertus arcee cohere cohere2 deepseek_v3 deepseek_v4 dots1 ernie4_5 ernie4_5_moe exaone4 gemma2 gemma3 gemma3_text gemma4
  glm4 glm4_moe gpt_oss hyperclovax lfm2_moe llama mimo minimax_m2 ministral3 mistral mistral3 mixtral nanochat nemotron_h olmo3
  olmo_hybrid phi3 qwen2 qwen3 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen3_moe qwen3_next seed_oss smollm3
  solar_open`);
