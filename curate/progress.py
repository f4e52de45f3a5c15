"""What a person sees while a job runs: a live display on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from curate.terminal import legible
from curate.work import Receipt

PLAIN_EVERY_S = 10.0
"""Where nobody watches a terminal, a line this often keeps a log readable."""

WARNING = "warning: "
"""How a line begins that somebody should read although the job goes on."""


class Reporter(AbstractContextManager["Reporter"]):
    """Shows the step in hand, sources done, hours of video, speed, errors and the time left."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self.console = console
        self.quiet = quiet
        self.failed = 0
        self.seconds: dict[str, float] = {}
        """Worker seconds by stage, for the summary."""
        self._live = console.is_terminal and not quiet
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not self._live,
        )
        self._task: Any = None
        self._spoken = 0.0
        self._start("", 0, 0.0)

    def __enter__(self) -> Reporter:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, message: str) -> None:
        """A line that stays."""
        if not self.quiet:
            self.console.print(legible(message), markup=False, highlight=False, soft_wrap=True)

    def warn(self, message: str) -> None:
        """A line that stays, also where only the result is wanted: it goes to the log, not into the result."""
        self.console.print(f"{WARNING}{message}", markup=False, highlight=False, soft_wrap=True)

    def step(self, name: str, total: int, video_s: float = 0.0) -> None:
        """A new step begins with `total` tasks over `video_s` seconds of video."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._start(name, total, video_s)
        self._task = self._bar.add_task(name, total=total, detail="")
        if not self._live:
            self.say(f"{name}: {total} to do")
            self._spoken = time.monotonic()

    def advance(self, receipt: Receipt, task: str, tasks: int = 1, video_s: float = 0.0) -> None:
        """The task of that name is done; `video_s` more seconds of video are behind us."""
        self._running.pop(task, None)
        for stage, seconds in receipt.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        self.failed += receipt.failed
        self._done += tasks
        self._video_done += video_s
        self._show()

    def _show(self) -> None:
        self._bar.update(self._task, completed=self._done, detail=self._detail())
        if not self._live and time.monotonic() - self._spoken >= PLAIN_EVERY_S:
            self._spoken = time.monotonic()
            self.say(f"{self._name}: {self._done}/{self._total}, {self._detail()}")

    def heard(self, task: str, video_s: float) -> None:
        """A task that is still running has `video_s` seconds of video behind it."""
        self._running[task] = video_s
        self._show()

    def _start(self, name: str, total: int, video_s: float) -> None:
        self._name, self._total, self._video_total = name, total, video_s
        self._done, self._video_done, self._began = 0, 0.0, time.monotonic()
        self._running: dict[str, float] = {}

    def _detail(self) -> str:
        elapsed = max(1e-3, time.monotonic() - self._began)
        parts = []
        share = self._done / self._total if self._total else 1.0
        if self._video_total:
            video_s = min(self._video_total, self._video_done + sum(self._running.copy().values()))
            share = video_s / self._video_total
            parts.append(f"{video_s / 3600:.2f} of {self._video_total / 3600:.2f} h of video")
            parts.append(f"{video_s / elapsed:.1f} video-s/s")
        parts.append(f"{self.failed} failed")
        if 0 < share < 1:
            parts.append(f"{_clock(elapsed * (1 - share) / share)} left")
        return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
