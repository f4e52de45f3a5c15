"""What every captioner behind `caption` is: something that answers requests of text and pictures with text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Picture:
    """A picture that is shown."""

    jpeg: bytes
    t_s: float
    """Its time, seconds since the source's first timestamp."""


@dataclass(frozen=True)
class Request:
    """One question to a model."""

    parts: tuple[str | Picture, ...]
    """Text and pictures of the user's turn, in order."""
    system: str = ""
    schema: Mapping[str, Any] | None = field(default=None, hash=False)
    """JSON schema that the answer keeps to, enforced by servers that can; None: plain text."""
    most_tokens: int = 512
    """Of the answer."""
    temperature: float = 0.0
    asking: int = 0
    """How often it was asked before: a second asking is another question, and another sample."""

    def digest(self) -> str:
        """SHA-256, in hex, of everything in it: the same question has the same."""
        parts = [p if isinstance(p, str) else ["picture", hashlib.sha256(p.jpeg).hexdigest()] for p in self.parts]
        told = [parts, self.system, self.schema, self.most_tokens, self.temperature, self.asking]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Reply:
    """What a model said."""

    text: str
    """Never empty: an empty answer is a `NoReplyError`."""
    confidence: float | None = None
    """Geometric mean of its tokens' probabilities, 0 to 1; None where the server does not tell."""
    complete: bool = True
    """False: it was cut off at `most_tokens`."""
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    cost: float | None = None
    """In the currency of the prices that were given; None where none were."""
    cached: bool = False


class NoReplyError(Exception):
    """One question has no answer, though it was asked as often as it may be; others may. The message names the server
    or model, and the cure."""


class BackendError(Exception):
    """No question can be answered: the server cannot be reached, refuses the key, or the weights do not load."""


class Backend(Protocol):
    """A captioner."""

    @property
    def name(self) -> str:
        """What a row's `model` says, such as `openai:Qwen3-VL-8B`. Another name is another model: it is part of the key
        under which answers are kept."""

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[int, Reply | NoReplyError]]:
        """The answer to each request, with its number, in the order in which they arrive.

        Requests are drawn when they are needed, so that not all pictures are held at once.

        Raises:
            BackendError: none can be answered.
        """
