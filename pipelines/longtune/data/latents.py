"""Latents and text embeddings, made by the stages `latents` and `text_embeddings`: safetensors members of a sample.

Latents lie frame after frame, so a window's are read in one piece and the rest of a long take is not.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from pipelines.longtune.data.takes import BadTakeError
from pipelines.longtune.data.tar import MemberFile

_LONGEST_HEADER = 1 << 20  # bytes; a real one has some hundred
_FOREIGN = "has a .{0}.safetensors that the stage for it did not write"


@dataclass(frozen=True)
class LatentsHeader:
    """What a member of latents says of itself, without its tensor.

    Attributes:
        frames: latent frames, from the take's start.
        channels: of a latent.
        height: pixels of the pictures that were encoded.
        width: pixels.
        fps: of the pictures.
        vae: fingerprint of the VAE.
    """

    frames: int
    channels: int
    height: int
    width: int
    fps: float
    vae: str


def read_header(file: MemberFile) -> LatentsHeader:
    """The header alone. Raises `BadTakeError` if it is not one of the stage `latents`."""
    return _Layout(file).header


def read_latents(file: MemberFile, frames: Sequence[int]) -> Tensor:
    """The latents of some frames, normalised: (z - mean) / std.

    Args:
        file: the member; only these frames' bytes are read.
        frames: numbers of latent frames, rising.

    Returns:
        float32, shape (channels, len(frames), height, width).

    Raises:
        BadTakeError: the member is broken, too short, or holds numbers that are not finite.
    """
    layout = _Layout(file)
    cuts = [0, *(i for i, (a, b) in enumerate(pairwise(frames), start=1) if b != a + 1), len(frames)]
    runs = [layout.read(frames[first], frames[last - 1] + 1) for first, last in pairwise(cuts)]
    raw = torch.cat(runs).float().transpose(0, 1)
    made = (raw - layout.mean.view(-1, 1, 1, 1)) / layout.std.view(-1, 1, 1, 1)
    if not torch.isfinite(made).all():
        raise BadTakeError("has latents that are not finite")
    return made


class _Layout:
    """Where the frames lie in a member."""

    def __init__(self, file: MemberFile) -> None:
        self._file = file
        values, data = _header(file)
        try:
            told, tensor = values["__metadata__"], values["latents"]
            kind = tensor["dtype"]
            self._shape = [int(size) for size in tensor["shape"]]
            frames, channels, *_ = self._shape
            self._start = data + int(tensor["data_offsets"][0])
            self.mean, self.std = (
                torch.tensor(json.loads(told[name]), dtype=torch.float32) for name in ("mean", "std")
            )
            self.header = LatentsHeader(
                frames=frames,
                channels=channels,
                height=int(told["height"]),
                width=int(told["width"]),
                fps=float(told["fps"]),
                vae=str(told["vae"]),
            )
        except (LookupError, TypeError, ValueError, RecursionError) as error:
            raise BadTakeError(_FOREIGN.format("latents")) from error
        right = kind == "F16" and len(self._shape) == 4 and min(self._shape) > 0
        if not right or self.mean.shape != (channels,) or self.std.shape != (channels,):
            raise BadTakeError(_FOREIGN.format("latents"))

    def read(self, first: int, end: int) -> Tensor:
        """Frames [first, end) as they lie: float16, shape (frames, channels, height, width)."""
        frame = 2 * math.prod(self._shape[1:])
        there = self._file.seek(0, os.SEEK_END) - self._start
        if not 0 <= first < end <= self._shape[0] or there < end * frame:  # before so much memory is asked for
            raise BadTakeError(f"has {self._shape[0]} latents by its header, and not as many in its member")
        self._file.seek(self._start + first * frame)
        data = bytearray((end - first) * frame)
        if self._file.readinto(data) < len(data):
            raise BadTakeError("ends within its latents")
        return torch.frombuffer(data, dtype=torch.float16).view(-1, *self._shape[1:])


def _header(file: MemberFile, kind: str = "latents") -> tuple[dict[str, Any], int]:
    file.seek(0)
    start = file.read(8) or b""
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 0 < length <= _LONGEST_HEADER:
        raise BadTakeError(_FOREIGN.format(kind))
    try:
        values = json.loads(file.read(length) or b"")
    except (ValueError, RecursionError) as error:
        raise BadTakeError(_FOREIGN.format(kind)) from error
    if not isinstance(values, dict):
        raise BadTakeError(_FOREIGN.format(kind))
    return values, 8 + length


def read_encoder(file: MemberFile) -> str:
    """Fingerprint of the text encoder of a member of embeddings. Raises `BadTakeError`."""
    values, _ = _header(file, "text")
    told = values.get("__metadata__")
    if not isinstance(told, dict) or not isinstance(told.get("text_encoder"), str):
        raise BadTakeError(_FOREIGN.format("text"))
    return str(told["text_encoder"])


def read_text(data: bytes) -> dict[str, Tensor]:
    """Caption → its embedding's valid rows, float32, shape (tokens, channels); "" is the absent caption.

    Raises:
        BadTakeError: the member is broken.
    """
    try:
        tensors = load(data)
        captions = json.loads(tensors["captions"].numpy().tobytes())
        return {str(caption): tensors[str(number)].float() for number, caption in enumerate(captions)}
    except (SafetensorError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise BadTakeError(_FOREIGN.format("text")) from error
