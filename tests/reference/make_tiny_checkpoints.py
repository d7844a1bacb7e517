"""Makes the tiny random checkpoints in tests/reference/checkpoints and the numbers PyTorch gets from them.

Each folder is a Hugging Face checkpoint (config.json, safetensors in one or two shards) plus
expected.json: token ids [2, 12], hidden states [2, 12, 32] (after the embedding, after the first layer,
after the last layer and the final norm), and logits [2, 12, 64], all fp32 on the CPU.

Not run in CI. Needs: pip install torch transformers safetensors
Run:  python tests/reference/make_tiny_checkpoints.py
"""

import json
import pathlib

import torch
import transformers
from safetensors.torch import save_file
from transformers import GPT2Config, LlamaConfig, Qwen2Config, Qwen3Config

FOLDER = pathlib.Path(__file__).parent / "checkpoints"
SHAPE = dict(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=None,
)

CASES = {
    "llama-tied": (LlamaConfig(**SHAPE, tie_word_embeddings=True, rope_theta=1e5), torch.float32, 1),
    "llama-untied-biased": (
        LlamaConfig(**SHAPE, tie_word_embeddings=False, attention_bias=True, mlp_bias=True),
        torch.bfloat16,
        2,
    ),
    "qwen2-tied": (Qwen2Config(**SHAPE, tie_word_embeddings=True, rope_theta=1e6), torch.float16, 1),
    "qwen2-untied": (Qwen2Config(**SHAPE, tie_word_embeddings=False), torch.float32, 1),
    # Heads of 16 although 32 / 4 = 8: Qwen3 sets the head size on its own.
    "qwen3-tied": (Qwen3Config(**SHAPE, head_dim=16, tie_word_embeddings=True), torch.float32, 1),
    "qwen3-untied": (Qwen3Config(**SHAPE, head_dim=16, tie_word_embeddings=False), torch.float32, 1),
    "gpt2": (
        GPT2Config(
            vocab_size=64, n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2
        ),
        torch.float32,
        1,
    ),
}


def randomise(model):
    """Weights large enough that every term moves the logits: matrices N(0, 0.15), norms near 1."""
    generator = torch.Generator().manual_seed(4)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        norm = "norm" in name or ".ln_" in name
        with torch.no_grad():
            parameter.copy_(1 + 0.1 * noise if norm and name.endswith("weight") else 0.15 * noise)


def rounded(values):
    return torch.as_tensor(values).double().mul(1e7).round().div(1e7).tolist()


def make(name, config, dtype, shards):
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).eval().float()
    randomise(model)
    # The file holds `dtype`; the reference computes in fp32 from those rounded values. Parameters only:
    # `model.to(dtype)` would round the rotary frequencies too.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype).float()
    tokens = torch.randint(3, 64, (2, 12), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        out = model(tokens, output_hidden_states=True, use_cache=False)

    state = {k: v.to(dtype).contiguous().clone() for k, v in model.state_dict().items()}
    if config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    names = sorted(state)
    for old in folder.glob("*.safetensors"):
        old.unlink()
    for i in range(shards):
        part = {k: state[k] for k in names[i::shards]}
        file = "model.safetensors" if shards == 1 else f"model-{i + 1:05}-of-{shards:05}.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
        (folder / file).chmod(0o644)

    (folder / "config.json").write_text(json.dumps(config.to_diff_dict(), indent=1, sort_keys=True) + "\n")
    expected = {
        "made_with": f"torch {torch.__version__}, transformers {transformers.__version__}, fp32 on CPU",
        "tokens": tokens.tolist(),
        "hidden_states": [rounded(h) for h in out.hidden_states],
        "logits": rounded(out.logits),
    }
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    print(name, sorted(k for k in state if "layers.0." in k or ".h.0." in k), float(out.logits.std()))


if __name__ == "__main__":
    for name, case in CASES.items():
        make(name, *case)
