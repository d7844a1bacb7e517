"""Makes tests/golden/pretokenizers_golden.json: small byte-level BPE vocabularies trained under the
pre-tokenizers of GPT-2, SmolLM, Qwen2 and Llama 3, and the ids the tokenizers package gives.

Not run in CI. Needs: pip install tokenizers
Run:  python tests/reference/make_tokenizer_goldens.py
"""

import json
import pathlib

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|NUMBER| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def split(number):
    pattern = Regex(WORDS.replace("NUMBER", number))
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(pattern, "isolated"), level])


def level():
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


PRE = {
    "gpt-2": level(),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level()]),
    "qwen2": split(r"\p{N}"),
    "llama-bpe": split(r"\p{N}{1,3}"),
}


def texts():
    cases = json.loads((GOLDEN / "tokenizer_golden.json").read_text())["cases"]
    return [case["text"] for case in cases] + [
        "WE'LL don't I'M he's\r\n\r\n  two\n\n three\t\tfour",
        "12345678 1234 ١٢٣٤ x²³ 3.14159 Ⅻ",
        "e\u0301 cafe\u0301 \u212b \ufb01",
        "snake_case camelCase kebab-case !!?? ... ---\n--",
        " a  b   c    d     \n ",
        "नमस्ते दुनिया مرحبا بالعالم שלום",
        "__proto__ constructor toString",
    ]


def case(pre):
    tokenizer = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    tokenizer.normalizer = normalizers.NFC() if pre == "qwen2" else None
    tokenizer.pre_tokenizer = PRE[pre]
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in SPECIALS],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts() * 3, trainer)
    file = json.loads(tokenizer.to_str())
    vocab = sorted(file["model"]["vocab"].items(), key=lambda item: item[1])
    return {
        "pre": pre,
        "tokens": [token for token, _ in vocab],
        "types": [3 if token in SPECIALS else 1 for token, _ in vocab],
        "merges": [" ".join(pair) for pair in file["model"]["merges"]],
        "tokenizer_json": {**file, "model": {**file["model"], "vocab": None, "merges": None}},
        "cases": [
            {
                "text": text,
                "ids": (ids := tokenizer.encode(text).ids),
                "decoded": tokenizer.decode(ids, skip_special_tokens=False),
            }
            for text in texts()
        ],
    }


golden = {
    "made_with": f"tokenizers {tokenizers.__version__}",
    "note": "tokenizer_json has null for model.vocab and model.merges: they are `tokens` and `merges`.",
    "vocabularies": [case(pre) for pre in PRE],
}
(GOLDEN / "pretokenizers_golden.json").write_text(json.dumps(golden) + "\n")
