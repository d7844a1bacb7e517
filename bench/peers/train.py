"""The same training step in PyTorch, a step for each line: python train.py weights.safetensors config.json THREADS.

A Llama written out with LoRA of rank 8 on all linears; base frozen, fp32, cross-entropy at all tokens but the
first of each row, AdamW. Answers each line with {"ms", "loss", "peakBytes"}."""

import json
import math
import resource
import struct
import sys
import time

import numpy
import torch
import torch.nn.functional as F

ROWS, ROW_TOKENS, RANK, ALPHA, LR = 4, 128, 8, 16, 1e-4


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


class Llama(torch.nn.Module):
    def __init__(self, weights, config):
        super().__init__()
        self.weights, self.config = weights, config
        names = ["self_attn." + n for n in ("q_proj", "k_proj", "v_proj", "o_proj")]
        names += ["mlp." + n for n in ("gate_proj", "up_proj", "down_proj")]
        self.lora = torch.nn.ModuleList(
            torch.nn.ModuleDict(
                {n.split(".")[1]: Lora(weights[f"model.layers.{i}.{n}.weight"]) for n in names}
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
        for i, lora in enumerate(self.lora):
            h = self.norm(x, f"model.layers.{i}.input_layernorm.weight")
            q = rotate(lora["q_proj"](h).view(rows, width, heads, size).transpose(1, 2))
            k = rotate(lora["k_proj"](h).view(rows, width, groups, size).transpose(1, 2))
            v = lora["v_proj"](h).view(rows, width, groups, size).transpose(1, 2)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            x = x + lora["o_proj"](mixed.transpose(1, 2).reshape(rows, width, heads * size))
            h = self.norm(x, f"model.layers.{i}.post_attention_layernorm.weight")
            x = x + lora["down_proj"](F.silu(lora["gate_proj"](h)) * lora["up_proj"](h))
        return self.norm(x, "model.norm.weight")


def main():
    torch.set_num_threads(int(sys.argv[3]))
    weights = read_safetensors(sys.argv[1])
    with open(sys.argv[2]) as file:
        config = json.load(file)
    head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
    model = Llama(weights, config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.99), weight_decay=0)
    places = torch.arange(ROWS * ROW_TOKENS).view(ROWS, ROW_TOKENS)
    tokens = (1000 + places * 7919) % min(config["vocab_size"], 20000)
    for _ in sys.stdin:
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        hidden = model(tokens)[:, :-1].reshape(-1, config["hidden_size"])
        loss = F.cross_entropy(F.linear(hidden, head), tokens[:, 1:].reshape(-1))
        loss.backward()
        optimizer.step()
        taken = (time.perf_counter() - start) * 1000
        # Kilobytes on Linux, bytes on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        answer = {"ms": taken, "loss": loss.item(), "peakBytes": peak}
        print(f"answer: {json.dumps(answer)}", flush=True)


main()
