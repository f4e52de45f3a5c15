"""One run of a schedule: `curate run` as a child process, its log, its record, and who is told if it failed."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from curate.dataset import Dataset
from curate.history import latest_profile
from curate.profile import difference, drifted
from curate.schedule.hooks import tell
from curate.schedule.store import Schedule, Store

STOP_S = 60.0
"""How long a run that was asked to stop may take to put down what it holds, before it is killed, seconds."""
_TAIL = 5


@dataclass
class ScheduledRun:
    """A run of a schedule. Times are ISO 8601 in UTC."""

    id: str
    schedule: str
    state: str
    """`running`, `done`, `failed`, `drifted`, `stopped` (somebody asked), `timed out`, or `skipped`."""
    began: str
    due: str | None = None
    """When it was due; None if somebody asked for it."""
    ended: str | None = None
    wall_s: float | None = None
    exit: int | None = None
    error: str | None = None
    log: str | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    drift: list[str] = field(default_factory=list)
    hooks: dict[str, str] = field(default_factory=dict)
    """By hook: `ok`, or what went wrong."""

    @property
    def bad(self) -> bool:
        return self.state in ("failed", "drifted", "timed out")


def execute(
    store: Store,
    schedule: Schedule,
    due: datetime | None = None,
    stop: threading.Event | None = None,
    heard: Callable[[str], None] = lambda line: None,
) -> ScheduledRun:
    """Run it now, in a process of its own, and remember what came of it.

    Args:
        store: where it is from.
        schedule: what to run.
        due: when it was due.
        stop: set to have the run stopped; what is done is kept.
        heard: called with each line that the run says.

    Raises:
        ScheduleError: a run of it is under way.
    """
    stop = stop or threading.Event()
    began, clock = datetime.now(UTC), time.monotonic()
    run = ScheduledRun(
        f"{began:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}",
        schedule.name,
        "running",
        began.isoformat(timespec="seconds"),
        due.isoformat(timespec="seconds") if due else None,
    )
    with store.held(schedule.name) as lock:
        log = store.beside(schedule.name) / "logs" / f"{run.id}.log"
        run.log = str(log)
        store.log(schedule.name, asdict(run))
        before = latest_profile(Dataset(schedule.output)) if schedule.fail_over is not None else None
        try:
            _child(schedule, run, lock, log, stop, heard)
        except OSError as error:
            run.state, run.error = "failed", str(error)
        if run.state == "done" and before is not None and schedule.fail_over is not None:
            now = latest_profile(Dataset(schedule.output))
            run.drift = drifted(difference(before, now), schedule.fail_over) if now is not None else []
            run.state = "drifted" if run.drift else "done"
        run.ended = datetime.now(UTC).isoformat(timespec="seconds")
        run.wall_s = round(time.monotonic() - clock, 3)
        if run.bad:
            run.hooks = tell(schedule, asdict(run))
        store.log(schedule.name, asdict(run))
    return run


def skipped(store: Store, schedule: Schedule, due: datetime, why: str) -> ScheduledRun:
    """Remember a run that did not start."""
    now = datetime.now(UTC)
    run = ScheduledRun(
        f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}",
        schedule.name,
        "skipped",
        now.isoformat(timespec="seconds"),
        due.isoformat(timespec="seconds"),
        now.isoformat(timespec="seconds"),
        0.0,
        error=why,
    )
    store.log(schedule.name, asdict(run))
    return run


def _child(
    schedule: Schedule, run: ScheduledRun, lock: int, log: Any, stop: threading.Event, heard: Callable[[str], None]
) -> None:
    """The process itself. It holds the lock, too: if we are killed, the lock lasts until the run ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "curate.cli", *schedule.command()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        pass_fds=[lock],
    )
    tail: deque[str] = deque(maxlen=_TAIL)
    said: list[str] = []

    def follow() -> None:
        assert process.stderr is not None  # noqa: S101 - for the type checker
        with open(log, "w", buffering=1) as file:
            for line in process.stderr:
                file.write(line)
                tail.append(line.strip())
                heard(line.rstrip("\n"))

    def answer() -> None:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        said.append(process.stdout.read())

    readers = [threading.Thread(target=follow, daemon=True), threading.Thread(target=answer, daemon=True)]
    for reader in readers:
        reader.start()
    ends = time.monotonic() + schedule.longest_h * 3600 if schedule.longest_h else None
    ending = None
    while process.poll() is None:
        if stop.wait(0.2):
            ending = "stopped"
        elif ends is not None and time.monotonic() > ends:
            ending = "timed out"
        if ending:
            _end(process)
    for reader in readers:
        reader.join(timeout=10)
    process.stdout.close()  # type: ignore[union-attr]
    process.stderr.close()  # type: ignore[union-attr]
    run.exit = process.returncode
    with suppress(ValueError, IndexError):
        run.summary = json.loads(said[0])
    run.state = ending or ("done" if run.exit == 0 else "failed")
    if run.state in ("failed", "timed out"):
        run.error = " / ".join(line for line in tail if line) or f"curate run ended with {run.exit}"


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
