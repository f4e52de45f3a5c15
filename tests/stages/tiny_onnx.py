"""Small ONNX networks with the inputs and outputs of those that people have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Axes = Sequence[int | str]


def saved(
    to: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    inputs: dict[str, Axes],
    outputs: dict[str, Axes],
    **told: str,
) -> Path:
    """A network of float32 as a file. `told` are its metadata."""
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        *(
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name, axes in of.items()]
            for of in (inputs, outputs)
        ),
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(made, told)
    onnx.checker.check_model(made)
    onnx.save(made, to)
    return to


def voice_embedder(to: Path, mels: int = 80, name: str = "feats", dimensions: int = 16) -> Path:
    """Which banks are how loud above the mean, through random weights: the signature of WeSpeaker's exports."""
    nodes = [
        helper.make_node("Relu", [name], ["loud"]),
        helper.make_node("ReduceMean", ["loud"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["embs"]),
    ]
    weights = {"w": np.random.default_rng(0).normal(size=(mels, dimensions)).astype(np.float32)}
    return saved(to, nodes, weights, {name: ("B", "T", mels)}, {"embs": ("B", dimensions)})
