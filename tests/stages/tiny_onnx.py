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


def scrfd(to: Path, faces: Sequence[tuple[np.ndarray, np.ndarray, float]], anchors: int = 2) -> Path:
    """A detector with SCRFD's inputs and outputs that sees these faces in every picture: corners (4,), points (5, 2) in
    px of its square of 640, and score. A second anchor sees each a little less surely, for one of them to be dropped.
    """
    outputs: dict[str, np.ndarray] = {}
    for kind, width in (("score", 1), ("bbox", 4), ("kps", 10)):
        for stride in (8, 16, 32):
            outputs[f"{kind}_{stride}"] = np.zeros(((640 // stride) ** 2 * anchors, width), np.float32)
    for corners, points, score in faces:
        stride = 8 if corners[2] - corners[0] < 64 else 16 if corners[2] - corners[0] < 160 else 32
        column, row = (np.round((corners[:2] + corners[2:]) / 2 / stride)).astype(int)
        for anchor in range(anchors):
            place = (row * (640 // stride) + column) * anchors + anchor
            centre = np.array([column, row]) * stride
            outputs[f"score_{stride}"][place] = score - 0.1 * anchor
            outputs[f"bbox_{stride}"][place] = np.hstack([centre - corners[:2], corners[2:] - centre]) / stride
            outputs[f"kps_{stride}"][place] = ((points - centre) / stride).ravel()
    nodes = [
        helper.make_node("ReduceMean", ["input.1"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "none"], ["zero"]),
        *(helper.make_node("Add", [f"{name}_w", "zero"], [name]) for name in outputs),
    ]
    weights = {f"{name}_w": value for name, value in outputs.items()} | {"none": np.zeros((), np.float32)}
    shapes: dict[str, Axes] = {name: value.shape for name, value in outputs.items()}
    return saved(to, nodes, weights, {"input.1": (1, 3, "h", "w")}, shapes)


def arcface(to: Path) -> Path:
    """An embedding with ArcFace's input and output: the crop's colours in 14 x 14 fields through random weights."""
    nodes = [
        helper.make_node("AveragePool", ["input.1"], ["small"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["small"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["embedding"]),
    ]
    weights = {"w": np.random.default_rng(0).normal(size=(3 * 14 * 14, 512)).astype(np.float32)}
    return saved(to, nodes, weights, {"input.1": ("B", 3, 112, 112)}, {"embedding": ("B", 512)})
