"""Nested plain values and tensors to a JSON and a safetensors file, and back: what a method keeps, without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipelines.longtune.errors import TuneError

_MARK = "__tensor__"


def write_packed(path: Path, state: Mapping[str, Any]) -> None:
    """Write `path`.json, and `path`.safetensors with the tensors that it names.

    Args:
        path: without a suffix.
        state: mappings with string keys, lists, tuples (read back as lists), numbers, strings, None and tensors.

    Raises:
        TypeError: a value of another kind.
    """
    tensors: dict[str, Tensor] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            tensors[str(len(tensors))] = value.detach().cpu().contiguous().clone()
            return {_MARK: str(len(tensors) - 1)}
        if isinstance(value, Mapping):
            if not all(isinstance(key, str) for key in value):
                raise TypeError(f"a state's keys are strings; {sorted(map(str, value))} are not all")
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"a state holds tensors and plain values; {type(value).__name__} is neither")

    values = plain(state)
    path.with_suffix(".json").write_text(json.dumps(values))
    save_file(tensors, path.with_suffix(".safetensors"))


def read_packed(path: Path) -> dict[str, Any]:
    """What `write_packed` was given, tensors on the CPU. Raises `TuneError` if it cannot be read."""
    try:
        values = json.loads(path.with_suffix(".json").read_text())
        tensors = load_file(path.with_suffix(".safetensors"))

        def back(value: Any) -> Any:
            if isinstance(value, dict):
                return tensors[value[_MARK]] if _MARK in value else {key: back(item) for key, item in value.items()}
            return [back(item) for item in value] if isinstance(value, list) else value

        return back(values)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise TuneError(f"{path}: a method's state cannot be read ({error}); resume from another checkpoint") from error
