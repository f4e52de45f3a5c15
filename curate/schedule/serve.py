"""`curate schedule serve`: watches the clock and starts what is due. One process, no state but the store's files.

What was due while nobody served is caught up with once. A run that is due while the one before is still under way
does not start, and is remembered as skipped.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from curate.progress import WARNING
from curate.schedule.metrics import Metrics
from curate.schedule.runs import execute, skipped
from curate.schedule.store import Schedule, ScheduleError, Store
from curate.terminal import legible

LOOK_S = 1.0
"""How often the clock and the schedules' files are looked at, seconds; cron counts in minutes."""
_SET_BACK = timedelta(hours=2)
"""A clock that was set back by more was wrong before; by less, it waits until it is where it was, so that nothing runs
twice."""

Say = Callable[..., None]


def text_log(event: str, **facts: Any) -> None:
    """A line for people, on standard error."""
    told = " ".join(f"{key}={value}" for key, value in facts.items() if value not in (None, ""))
    told = legible(told).replace("\n", " ")  # a line of its own would be somebody else's event
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z {event} {told}", file=sys.stderr, flush=True)


def json_log(event: str, **facts: Any) -> None:
    """A line for a log collector, on standard error."""
    row = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **facts}
    print(json.dumps(row), file=sys.stderr, flush=True)


class Server:
    """Starts due runs until it is told to stop.

    Args:
        store: the schedules; read anew all the time, so that one added while it serves is served.
        parallel: runs of different schedules at once.
        say: gets events.
        metrics: hears of runs.
        clock: the time now, in UTC.
    """

    def __init__(
        self,
        store: Store,
        parallel: int,
        say: Say,
        metrics: Metrics,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store, self._say, self._metrics, self._clock = store, say, metrics, clock
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="run")
        self._seen: dict[str, datetime] = {}
        """By schedule: the time up to which it has been looked at."""
        self._waiting: set[str] = set()
        self._broken: dict[str, str] = {}
        self.stop = threading.Event()

    def serve(self) -> None:
        """Until `stop` is set; then stop what runs, and return when it has."""
        self._say("serving", schedules=self._store.names(), folder=str(self._store.folder))
        try:
            while not self.stop.wait(LOOK_S):
                self.look()
        finally:
            self.stop.set()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._say("stopped")

    def look(self) -> None:
        """Start what has come due since the last look."""
        now = self._clock()
        names = self._store.names()
        for name in names:
            try:
                schedule = self._store.get(name)
            except (ScheduleError, OSError) as error:
                if self._broken.get(name) != str(error):
                    self._broken[name] = str(error)
                    self._say("unusable", schedule=name, error=str(error))
                continue
            self._broken.pop(name, None)
            self._consider(schedule, now)
        self._metrics.forget(set(names))

    def _consider(self, schedule: Schedule, now: datetime) -> None:
        since = self._seen.get(schedule.name) or self._last(schedule)
        if since - now > _SET_BACK:
            since = now
        due = schedule.due_after(since)
        if due > now:
            self._seen[schedule.name] = since
            self._metrics.next_run(schedule.name, due)
            return
        due = schedule.due_before(now)
        self._seen[schedule.name] = now
        self._metrics.next_run(schedule.name, schedule.due_after(now))
        if schedule.name in self._waiting or self._store.running(schedule.name):
            self._skip(schedule, due, "the run before is still under way")
            return
        self._waiting.add(schedule.name)
        self._pool.submit(self._run, schedule, due)

    def _last(self, schedule: Schedule) -> datetime:
        """Up to when it was looked at by whoever served before: its latest due run, or when it was made."""
        dues = [datetime.fromisoformat(row["due"]) for row in self._store.history(schedule.name) if row.get("due")]
        return max([schedule.created, *dues])

    def _run(self, schedule: Schedule, due: datetime) -> None:
        try:
            if self.stop.is_set():
                return
            self._say("started", schedule=schedule.name, due=due.isoformat())
            self._metrics.started(schedule.name)
            run = execute(self._store, schedule, due, self.stop, lambda line: self._pass_on(schedule, line))
            self._metrics.ended(run)
            facts = {"id": run.id, "state": run.state, "wall_s": run.wall_s, "exit": run.exit, "error": run.error}
            self._say("ended", schedule=schedule.name, **facts, drift=run.drift, hooks=run.hooks, log=run.log)
        except ScheduleError as error:  # somebody's run-now was quicker
            self._skip(schedule, due, str(error))
        except Exception as error:  # one schedule's trouble (a full disk) must not end the others'
            self._say("trouble", schedule=schedule.name, error=f"{type(error).__name__}: {error}")
        finally:
            self._waiting.discard(schedule.name)

    def _pass_on(self, schedule: Schedule, line: str) -> None:
        """What a run warns of belongs in the log that somebody watches; the rest is in the run's own."""
        if line.startswith(WARNING):
            self._say("warning", schedule=schedule.name, warning=line.removeprefix(WARNING))

    def _skip(self, schedule: Schedule, due: datetime, why: str) -> None:
        self._metrics.ended(skipped(self._store, schedule, due, why))
        self._say("skipped", schedule=schedule.name, due=due.isoformat(), error=why)
