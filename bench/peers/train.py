"""The same training in PyTorch, a piece of work for each line: python train.py weights.safetensors config.json THREADS.

A Llama written out with LoRA of rank 8; base frozen, fp32, AdamW. `step`: LoRA on all linears, cross-entropy at all
tokens but the first of each row. `dpo PAIRS EPOCHS`: LoRA on the upper half, the whole model at every step, the
reference's log-probs once, the head at reply tokens only. Both answer {"ms", "loss", "peakBytes"}.
`products SIDE`: {"flops"} a second of plain products of square matrices."""

import json
import math
import resource
import struct
import sys
import time

import numpy
import torch
import torch.nn.functional as F

# As in bench/training-names.ts, bench/training-work.ts and the defaults of our DPO.
ROWS, ROW_TOKENS, RANK, ALPHA, LR = 4, 128, 8, 16, 1e-4
PROMPT_TOKENS, REPLY_TOKENS = 48, 80
PAIRS_A_STEP, BETA, PEAK, WARMUP = 4, 0.05, 1e-3, 3
PRODUCTS = 8


def read_safetensors(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    data = numpy.memmap(path, dtype=numpy.uint8, mode="r", offset=8 + length)
    tensors = {}
    for name, place in header.items():
        if name == "__metadata__":
            continue
        begin, end = place["data_offsets"]
        array = numpy.array(data[begin:end]).view(numpy.float32).reshape(place["shape"])
        tensors[name] = torch.from_numpy(array)
    return tensors


class Lora(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        outputs, inputs = weight.shape
        self.register_buffer("weight", weight)
        self.a = torch.nn.Parameter((torch.rand(RANK, inputs) * 2 - 1) / math.sqrt(inputs))
        self.b = torch.nn.Parameter(torch.zeros(outputs, RANK))

    def forward(self, x):
        return F.linear(x, self.weight) + F.linear(F.linear(x, self.a), self.b) * (ALPHA / RANK)


class Frozen(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, x):
        return F.linear(x, self.weight)


class Llama(torch.nn.Module):
    """Adapters sit on layer `from_layer` and above."""

    def __init__(self, weights, config, from_layer=0):
        super().__init__()
        self.weights, self.config = weights, config
        names = ["self_attn." + n for n in ("q_proj", "k_proj", "v_proj", "o_proj")]
        names += ["mlp." + n for n in ("gate_proj", "up_proj", "down_proj")]
        self.linears = torch.nn.ModuleList(
            torch.nn.ModuleDict(
                {
                    n.split(".")[1]: (Lora if i >= from_layer else Frozen)(
                        weights[f"model.layers.{i}.{n}.weight"]
                    )
                    for n in names
                }
            )
            for i in range(config["num_hidden_layers"])
        )

    def norm(self, x, name):
        return F.rms_norm(x, x.shape[-1:], self.weights[name], self.config["rms_norm_eps"])

    def forward(self, tokens):
        c = self.config
        rows, width = tokens.shape
        heads, groups, size = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        frequencies = c["rope_theta"] ** (-torch.arange(0, size, 2).float() / size)
        angles = torch.outer(torch.arange(width).float(), frequencies).repeat(1, 2)
        cos, sin = angles.cos(), angles.sin()

        def rotate(x):
            low, high = x.chunk(2, dim=-1)
            return x * cos + torch.cat((-high, low), dim=-1) * sin

        x = F.embedding(tokens, self.weights["model.embed_tokens.weight"])
        for i, linear in enumerate(self.linears):
            h = self.norm(x, f"model.layers.{i}.input_layernorm.weight")
            q = rotate(linear["q_proj"](h).view(rows, width, heads, size).transpose(1, 2))
            k = rotate(linear["k_proj"](h).view(rows, width, groups, size).transpose(1, 2))
            v = linear["v_proj"](h).view(rows, width, groups, size).transpose(1, 2)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            x = x + linear["o_proj"](mixed.transpose(1, 2).reshape(rows, width, heads * size))
            h = self.norm(x, f"model.layers.{i}.post_attention_layernorm.weight")
            x = x + linear["down_proj"](F.silu(linear["gate_proj"](h)) * linear["up_proj"](h))
        return self.norm(x, "model.norm.weight")


def drawn(start, count, config):
    return (1000 + torch.arange(start, start + count) * 7919) % min(config["vocab_size"], 20000)


def head_of(weights):
    return weights.get("lm_head.weight", weights["model.embed_tokens.weight"])


def stepper(weights, config):
    model = Llama(weights, config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.99), weight_decay=0)
    tokens = drawn(0, ROWS * ROW_TOKENS, config).view(ROWS, ROW_TOKENS)

    def step():
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        hidden = model(tokens)[:, :-1].reshape(-1, config["hidden_size"])
        loss = F.cross_entropy(F.linear(hidden, head_of(weights)), tokens[:, 1:].reshape(-1))
        loss.backward()
        optimizer.step()
        return {"ms": (time.perf_counter() - start) * 1000, "loss": loss.item()}

    return step


def dpo(weights, config, pairs, epochs):
    start = time.perf_counter()
    model = Llama(weights, config, config["num_hidden_layers"] // 2)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=PEAK, betas=(0.9, 0.99), weight_decay=0)
    width = PROMPT_TOKENS + 2 * REPLY_TOKENS
    tokens = drawn(0, pairs * width, config).view(pairs, width)
    better, worse = tokens[:, :-REPLY_TOKENS], torch.cat(
        (tokens[:, :PROMPT_TOKENS], tokens[:, -REPLY_TOKENS:]), dim=1
    )
    batches = list(torch.arange(pairs).split(PAIRS_A_STEP))

    def logprobs(batch):
        """Of the replies: [2, pairs], better and worse."""
        rows = torch.cat((better[batch], worse[batch]))
        hidden = model(rows)[:, PROMPT_TOKENS - 1 : -1]
        said = F.linear(hidden, head_of(weights)).log_softmax(-1)
        return said.gather(-1, rows[:, PROMPT_TOKENS:, None]).sum((1, 2)).view(2, -1)

    # Adapters begin at zero: the policy still is the reference.
    with torch.no_grad():
        reference = [logprobs(batch) for batch in batches]
    steps, first = epochs * len(batches), None
    for step in range(steps):
        which = step % len(batches)
        warm = (step + 1) / WARMUP
        rate = warm if step < WARMUP else 1 - (step - WARMUP) / max(1, steps - WARMUP)
        optimizer.param_groups[0]["lr"] = PEAK * rate
        optimizer.zero_grad(set_to_none=True)
        chosen, rejected = logprobs(batches[which]) - reference[which]
        loss = -F.logsigmoid(BETA * (chosen - rejected)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        first = loss.item() if first is None else first
    return {"ms": (time.perf_counter() - start) * 1000, "loss": first}


def products(side):
    a = torch.ones(side, side)
    a @ a
    start = time.perf_counter()
    for _ in range(PRODUCTS):
        a @ a
    return {"flops": 2 * side**3 * PRODUCTS / (time.perf_counter() - start)}


def main():
    torch.set_num_threads(int(sys.argv[3]))
    weights = read_safetensors(sys.argv[1])
    with open(sys.argv[2]) as file:
        config = json.load(file)
    step = None
    for line in sys.stdin:
        work, *numbers = line.split()
        if work == "step":
            step = step or stepper(weights, config)
            answer = step()
        elif work == "dpo":
            answer = dpo(weights, config, *map(int, numbers))
        else:
            answer = products(*map(int, numbers))
        # Kilobytes on Linux, bytes on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        answer["peakBytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        print(f"answer: {json.dumps(answer)}", flush=True)


main()
