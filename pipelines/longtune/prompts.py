"""What a video is to show, and from when on: prompts with times, from a file or options, or typed while it is made."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from pipelines.longtune.errors import UsageError

# A time, a colon and a space: "12.5: he sits down", "1:30: she leaves". Neither "Scene 2: rain" nor "3:1 odds" is one.
_TIMED = re.compile(r"\s*(?:(\d+):)?(\d+(?:\.\d+)?):\s+(\S.*)", re.DOTALL)


@dataclass(frozen=True)
class Cue:
    """A prompt and the second from which it holds."""

    second: float
    text: str


class Prompts(Protocol):
    """Where a video's prompts come from."""

    def at(self, second: float) -> str | None:
        """The prompt of a block that starts at `second`, or None for the one before. Called with rising seconds; the
        first call gives a prompt."""

    @property
    def over(self) -> bool:
        """Whether a video without a set length is to end now."""


class TimedPrompts:
    """Prompts whose times are known. A prompt holds from the first block that starts at its time or later."""

    def __init__(self, cues: Sequence[Cue]) -> None:
        self._left = list(cues)

    def at(self, second: float) -> str | None:
        """See `Prompts.at`."""
        now = None
        while self._left and self._left[0].second <= second:
            now = self._left.pop(0).text
        return now

    @property
    def over(self) -> bool:
        """See `Prompts.over`."""
        return not self._left


class TypedPrompts:
    """Lines of a stream, read beside the work: a line is the prompt from the next block on.

    Args:
        lines: where they come from.
        first: the first prompt; None waits for the first line.
    """

    def __init__(self, lines: TextIO, first: str | None) -> None:
        self._first, self._typed = first, queue.SimpleQueue[str | None]()
        self.over = False
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()

    def at(self, second: float) -> str | None:
        """See `Prompts.at`; of several lines since the last block, the latest counts."""
        if second == 0:
            now = self._first if self._first is not None else self._typed.get()
            if now is None:
                raise UsageError("--interactive: no prompt was typed; give --prompt, or a first line on stdin")
            return now
        now = None
        while not self._typed.empty():
            line = self._typed.get()
            self.over = line is None
            now = now if line is None else line
        return now

    def _read(self, lines: TextIO) -> None:
        for line in lines:
            if line.strip():
                self._typed.put(line.strip())
        self._typed.put(None)


def read_cues(path: Path) -> list[Cue]:
    """The prompts of a file: a line each, "SECONDS: TEXT"; blank lines and those that start with # are passed over.

    Raises `UsageError` that names the file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a readable text file of prompts: {error}") from error
    told = [(number, line) for number, line in enumerate(lines, start=1) if line.strip() and line.lstrip()[0] != "#"]
    return to_cues((f"{path}:{number}", line) for number, line in told)


def to_cues(lines: Iterable[tuple[str, str]]) -> list[Cue]:
    """Lines, each with the place that an error shall name, as cues that start at 0 and rise.

    Raises `UsageError`.
    """
    cues: list[Cue] = []
    for place, line in lines:
        timed = _TIMED.fullmatch(line)
        second = 60 * int(timed[1] or 0) + float(timed[2]) if timed else 0.0
        text = " ".join((timed[3] if timed else line).split())
        if not cues and second:
            raise UsageError(f"{place}: the first prompt starts at {second:g} s; a video needs one from 0 on")
        if cues and second <= cues[-1].second:
            raise UsageError(
                f"{place}: a prompt at {second:g} s follows one at {cues[-1].second:g} s; write 'SECONDS: TEXT' with "
                "rising times"
            )
        cues.append(Cue(second, text))
    if not cues:
        raise UsageError("no prompt was given: write lines like '0: a man walks' and '12.5: he sits down'")
    return cues
