"""Makes tests/golden/formats_golden.json: random blocks of each storage format and what the gguf
package makes of them, both as base64 of little-endian bytes (numbers as fp32).

Not run in CI. Needs: pip install numpy gguf
Run:  python tests/reference/make_format_goldens.py
"""

import base64
import json
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

OUT = pathlib.Path(__file__).parent.parent / "golden" / "formats_golden.json"
FORMATS = "F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K Q2_K Q3_K IQ4_NL".split()
NUMBERS = 768
# Offsets of the fp16 scales in a block: random bits there could be infinite.
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "Q2_K": [80, 82], "Q3_K": [108], "IQ4_NL": [0]}


def blocks_of(name, rng):
    block_size, block_bytes = gguf.GGML_QUANT_SIZES[Type[name]]
    if name in SCALES:
        data = rng.integers(0, 256, (NUMBERS // block_size, block_bytes), dtype=np.uint8)
        for at in SCALES[name]:
            scale = rng.normal(0, 0.05, len(data)).astype(np.float16)
            data[:, at : at + 2] = scale.view(np.uint8).reshape(-1, 2)
        return data
    values = rng.normal(0, 1, NUMBERS).astype(np.float32)
    values[:8] = [0, -0.0, 1e-7, -3e-6, 65504, -65504, 6.1e-5, 1]
    return gguf.quants.quantize(values, Type[name]).view(np.uint8)


def main():
    rng = np.random.default_rng(4)
    cases = []
    for name in FORMATS:
        data = blocks_of(name, rng)
        values = gguf.quants.dequantize(data.reshape(1, -1), Type[name]).astype("<f4").ravel()
        assert values.size == NUMBERS and np.isfinite(values).all()
        cases.append(
            {
                "format": name,
                "count": NUMBERS,
                "bytes": base64.b64encode(data.tobytes()).decode(),
                "values": base64.b64encode(values.tobytes()).decode(),
            }
        )
    OUT.write_text(json.dumps({"made_with": "gguf 0.19.0, numpy", "cases": cases}, indent=1) + "\n")


main()
