"""Networks of your own in the form of ONNX, opened so that the file itself is all that is read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.models import Model, WeightsError

Shape = tuple[int | None, ...]
"""Lengths of the axes; None: any."""


@dataclass(frozen=True)
class Network:
    """An open network.

    Attributes:
        name: the file's name and the first twelve digits of its SHA-256: what a row says ran.
        session: onnxruntime's, on one core.
    """

    name: str
    session: Any

    @property
    def told(self) -> dict[str, str]:
        """What the file says of itself. Its words are other people's: they choose between ways known here."""
        return dict(self.session.get_modelmeta().custom_metadata_map)


def opened(model: Model, given: str, sha256: str | None, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Network:
    """The network in a file, with the inputs and outputs that are expected of it.

    A file that keeps weights in other files is refused: their paths are in the file, and may lead anywhere.

    Args:
        model: what it is to be, for messages.
        given: the file's path.
        sha256: what it must hash to; None takes any.
        inputs, outputs: their shapes, in order; as many as there must be.

    Raises:
        WeightsError: there is no such file, or it is another network.
    """
    path = model.weights(str(Path(given).expanduser()), sha256)
    if path.suffix != ".onnx" or not path.is_file():
        raise WeightsError(f"{model.name}: {path} is no .onnx file")
    data = path.read_bytes()
    _self_contained(model, path, data)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a worker has one core
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises errors of many kinds
        raise WeightsError(f"{model.name}: {path} is no network that can run ({_short(error)})") from None
    for kind, wanted, found in (("input", inputs, session.get_inputs()), ("output", outputs, session.get_outputs())):
        shapes = [[n if isinstance(n, int) else None for n in one.shape] for one in found]
        told = f"{path} has the {kind}s {', '.join(f'{o.name} {o.shape}' for o in found)[:300]}"
        if len(shapes) != len(wanted) or any(o.type != "tensor(float)" for o in found):
            raise WeightsError(f"{model.name}: {told}; {len(wanted)} of float32 are needed: it is another network")
        for mine, theirs in zip(wanted, shapes, strict=True):
            if len(mine) != len(theirs) or any(a and b and a != b for a, b in zip(mine, theirs, strict=True)):
                raise WeightsError(f"{model.name}: {told}; a shape of {mine} is needed: it is another network")
    return Network(f"{path.stem}@{hashlib.sha256(data).hexdigest()[:12]}", session)


def _self_contained(model: Model, path: Path, data: bytes) -> None:
    try:
        import onnx
        from onnx.external_data_helper import _get_all_tensors, uses_external_data
    except ImportError:
        cure = "pip install 'longtake[onnx]'"
        raise WeightsError(f"{model.name}: networks of your own need the package onnx; run: {cure}") from None
    try:
        tensors = list(_get_all_tensors(onnx.load_model_from_string(data)))
    except Exception as error:  # protobuf raises errors of many kinds
        raise WeightsError(f"{model.name}: {path} is no ONNX file ({_short(error)})") from None
    if any(uses_external_data(tensor) for tensor in tensors):
        cure = "save it as one file: onnx.save_model(…, save_as_external_data=False)"
        raise WeightsError(f"{model.name}: {path} keeps weights in other files, which are not opened; {cure}")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
