"""What the parts of the reader say of a take: its errors, and the notes about takes that were passed over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


class BadTakeError(ValueError):
    """This take cannot be used; the text says why, in the terms of its file."""


class ShortTakeError(Exception):
    """The take is shorter than a window."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.2f} s long")
        self.seconds = seconds


@dataclass(frozen=True)
class Note:
    """A take or shard that was passed over: too short for any bucket, or bad. `name` is shard:key, for people."""

    kind: Literal["short", "bad"]
    name: str
    reason: str
