"""Shows a run on stderr: a live bar on a terminal, now and then a plain line elsewhere (a log, a nightly job)."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_PLAIN_EVERY_S = 5.0


class Reporter:
    """Use as a context manager. `say` prints a line; `step` shows a row of metrics."""

    def __init__(self) -> None:
        self._live: Progress | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._spoken = 0.0
        self.muted = False
        """Set on ranks other than the first: they would say it all again."""

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[facts]}"))
            self._live = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """One line for people."""
        if self.muted:
            return
        if self._live is not None:
            self._live.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def step(self, row: dict[str, Any], total: int) -> None:
        """Show a training step: `row` as it goes into metrics.jsonl, of `total` steps in its stage."""
        if self.muted:
            return
        loss = "skipped" if row["loss"] is None else f"{row['loss']:.4f}"
        facts = f"loss {loss}  {row['frames_per_s']:.1f} frames/s  data wait {row['data_wait']:.0%}"
        if self._live is not None:
            if self._task is None or self._stage != row["stage"]:
                self._task = self._live.add_task(row["stage"], total=total, facts=facts)
            self._live.update(self._task, completed=row["step"], facts=facts)
        elif self._stage != row["stage"] or row["step"] == total or time.monotonic() - self._spoken > _PLAIN_EVERY_S:
            self._spoken = time.monotonic()
            self.say(f"{row['stage']} {row['step']}/{total}  {facts}")
        self._stage = row["stage"]
