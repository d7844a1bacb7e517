"""Quantises an exported model as transformers.js does for its default dtype, q8: weights int8 per tensor,
activations uint8 per tensor at run time. Usage: python quantize.py model.onnx model_quantized.onnx
Settings of https://github.com/huggingface/transformers.js/blob/main/scripts/quantize.py."""

import sys

from onnx import TensorProto
from onnxruntime.quantization import QuantType, quantize_dynamic

quantize_dynamic(
    sys.argv[1],
    sys.argv[2],
    weight_type=QuantType.QInt8,
    per_channel=False,
    extra_options={"EnableSubgraph": True, "MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT},
)
