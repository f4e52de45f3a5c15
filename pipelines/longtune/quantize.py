"""Weights of the transformer's blocks in eight bits, for generating with less memory (torchao, weight-only).

Attention and feed-forward layers hold nearly all weights; embedders, norms and the head stay as they are, since they
are small and every block passes through them. Weight-only, because activations in eight bits cost as much again in
accuracy and only pay with a kernel that multiplies bytes. `curate train verify` measures the error.
"""

from __future__ import annotations

from typing import Any

from torch import nn

PARTS = ("attn1", "attn2", "ffn")


def quantize_int8(transformer: Any) -> int:
    """Put the linear layers of all blocks into eight bits, in place; the network can no longer be trained.

    Args:
        transformer: a `CausalWanTransformer3DModel` in eval mode.

    Returns:
        How many layers were changed.

    Raises:
        ModuleNotFoundError: torchao is not installed.
    """
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    chosen = {
        name
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear) and name.startswith("blocks.") and name.split(".")[2] in PARTS
    }
    quantize_(transformer, Int8WeightOnlyConfig(), filter_fn=lambda module, name: name in chosen)
    return len(chosen)
