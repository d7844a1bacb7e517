"""Adapters of Python's PEFT on a tiny model, and what PEFT computes with ours.

Writes, under tests/reference/adapters:
- peft-lora, peft-rslora: adapters that PEFT made and saved, A and B random, on all linears of llama-tied;
- expected.json: for these and for `own` (an adapter that this project wrote: see peft.test.ts), the log-probs
  [12, 64] that the model with the adapter gives at every position of one row of 12 tokens, in fp32 on the CPU, and
  how far they are from those of the bare model.

Not run in CI. Needs: pip install torch transformers peft
Run:  WRITE_ADAPTER=1 npx vitest run --project unit tests/reference/peft.test.ts   # writes `own`
      python tests/reference/make_peft_golden.py
"""

import json
import pathlib

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model

HERE = pathlib.Path(__file__).parent
BASE = HERE / "checkpoints" / "llama-tied"
FOLDER = HERE / "adapters"
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# Another rank and dropout than ours, so that neither can be taken for granted.
CASES = {
    "peft-lora": dict(r=4, lora_alpha=8, lora_dropout=0.1, target_modules=LINEARS),
    "peft-rslora": dict(r=4, lora_alpha=8, use_rslora=True, target_modules=["q_proj", "down_proj"]),
}


def base():
    return transformers.AutoModelForCausalLM.from_pretrained(BASE, attn_implementation="eager").float().eval()


def logprobs(model, tokens):
    with torch.no_grad():
        return torch.log_softmax(model(tokens, use_cache=False).logits[0].double(), -1)


def make(name, options):
    model = get_peft_model(base(), LoraConfig(task_type="CAUSAL_LM", **options)).eval()
    generator = torch.Generator().manual_seed(len(name))
    for key, parameter in sorted(model.named_parameters()):
        if "lora_" in key:
            with torch.no_grad():
                parameter.copy_(0.25 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(FOLDER / name)
    for extra in FOLDER.joinpath(name).glob("*.md"):
        extra.unlink()
    FOLDER.joinpath(name, "adapter_model.safetensors").chmod(0o644)
    config = FOLDER / name / "adapter_config.json"
    kept = json.loads(config.read_text())
    kept["base_model_name_or_path"] = "llama-tied"
    config.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


def main():
    tokens = torch.tensor(json.loads((BASE / "expected.json").read_text())["tokens"][:1])
    bare = logprobs(base(), tokens)
    expected = {
        "made_with": f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}",
        "tokens": tokens[0].tolist(),
        "adapters": {},
    }
    for name, options in CASES.items():
        make(name, options)
    for name in [*CASES, "own"]:
        found = logprobs(PeftModel.from_pretrained(base(), FOLDER / name).eval(), tokens)
        distance = (found - bare).abs().max().item()
        assert distance > 0.1, f"{name} changes nothing"
        expected["adapters"][name] = {
            "distance": round(distance, 6),
            "logprobs": found.mul(1e7).round().div(1e7).tolist(),
        }
        print(name, distance)
    (FOLDER / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
