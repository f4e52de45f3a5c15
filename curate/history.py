"""What each run of a dataset came to: a small file a run under `runs/`, and a profile of what it left.

A record is written when a run begins and replaced when it ends, so that one that was killed is told by its record, too.
The profile (scores' distributions, captions) lets a later night be compared with this one, when its rows are gone.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from curate import __version__
from curate.dataset import Dataset
from curate.profile import measure

FOLDER = "runs"
KEPT = 1000
"""Records of the latest runs that are kept: nearly three years of nights."""

RUNNING, DONE, FAILED, STOPPED = "running", "done", "failed", "stopped"


@dataclass
class Record:
    """A run. Times are ISO 8601 in UTC; a record that says `running` while nobody holds the dataset was killed."""

    id: str
    state: str
    began: str
    recipe: str
    longtake: str = __version__
    ended: str | None = None
    wall_s: float | None = None
    error: str | None = None
    tasks: int = 0
    states: dict[str, dict[str, int]] = field(default_factory=dict)
    funnel: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """Worker seconds by stage."""
    profile: str | None = None
    """Id of the run whose profile this one's is: its own, or the latest before it that changed anything."""


@contextmanager
def recorded(dataset: Dataset, recipe: str) -> Iterator[Record]:
    """A record of what happens in the block, which fills it in. Only the holder of the dataset's lock may do so."""
    began, clock = datetime.now(UTC), time.monotonic()
    known = _ids(dataset)
    name = _next_id(began, known)
    record = Record(name, RUNNING, began.isoformat(timespec="seconds"), recipe)
    before = _read(dataset, known[-1]) if known else None
    _write(dataset, record)
    try:
        yield record
        record.state = DONE
        same = before.profile if before and not record.tasks else None
        record.profile = same if same and dataset.exists(_profile(same)) else name
        if record.profile == name:
            dataset.write(_profile(name), json.dumps(measure(dataset)).encode())
    except BaseException as error:
        record.state = STOPPED if isinstance(error, KeyboardInterrupt) else FAILED
        record.error = f"{type(error).__name__}: {error}"
        with suppress(OSError):  # a full disk, of which the error tells, may not hold this either
            _end(dataset, record, clock)
        raise
    _end(dataset, record, clock)


def _end(dataset: Dataset, record: Record, clock: float) -> None:
    record.ended = datetime.now(UTC).isoformat(timespec="seconds")
    record.wall_s = round(time.monotonic() - clock, 3)
    _write(dataset, record)
    _prune(dataset)


def _next_id(began: datetime, known: Sequence[str]) -> str:
    """An id that sorts behind all before it, even where the clock has been set back since."""
    stamp = f"{began:%Y%m%dT%H%M%SZ}"
    if known and known[-1][: len(stamp)] >= stamp:
        latest = datetime.strptime(known[-1][: len(stamp)], "%Y%m%dT%H%M%SZ")
        stamp = f"{latest + timedelta(seconds=1):%Y%m%dT%H%M%SZ}"
    return f"{stamp}-{secrets.token_hex(2)}"


def records(dataset: Dataset, last: int | None = None) -> list[Record]:
    """The latest runs (all by default) that are remembered, the oldest first. What cannot be read is passed over.

    They are asked for at once: of a dataset on an object store each is a request.
    """
    names = _ids(dataset)[-last:] if last else _ids(dataset)
    paths = [dataset.path(f"{FOLDER}/{name}.json") for name in names]
    found = dataset.fs.cat(paths, on_error="omit") if paths else {}
    return [record for path in paths if path in found and (record := _parsed(found[path]))]


def latest(dataset: Dataset) -> Record | None:
    """The latest run; None where none is remembered, or its record cannot be read."""
    known = _ids(dataset)
    return _read(dataset, known[-1]) if known else None


def profile(dataset: Dataset, run: str | None = None) -> dict[str, Any]:
    """What a run left, or what the dataset holds now.

    Args:
        run: an id, or a number from the end: -1 is the latest run, -2 the one before.

    Raises:
        LookupError: no such run is remembered, or it ended before it left a profile.
    """
    if run is None:
        return measure(dataset)
    if run.startswith("-") and run[1:].isdecimal():
        known = records(dataset)
        record = known[int(run)] if 0 < int(run[1:]) <= len(known) else None
    else:
        record = _read(dataset, run) if run in _ids(dataset) else None
    if record is None:
        raise LookupError(f"{dataset.url} remembers no run {run!r}; curate history {dataset.url} lists them")
    of = record.profile
    if of is None or not dataset.exists(_profile(of)):
        raise LookupError(f"{dataset.url}: run {record.id} left no profile, because it is {record.state}")
    if (told := _read_profile(dataset, of)) is None:
        raise LookupError(
            f"{dataset.path(_profile(of))}: the profile of run {record.id} is damaged; compare with another run"
        )
    return told


def latest_profile(dataset: Dataset) -> dict[str, Any] | None:
    """What the latest run that ended well left; None if there is none."""
    for run in reversed(_ids(dataset)):
        record = _read(dataset, run)
        if record is not None and record.profile and (told := _read_profile(dataset, record.profile)):
            return told
    return None


def forget(dataset: Dataset) -> None:
    """Leave out of every record what an error said, and of every profile the words, for something was purged.

    Words and errors are not looked through: a word of a name is not the name, and yet says it.
    """
    for run in _ids(dataset):
        record = _read(dataset, run)
        if record is None:
            dataset.remove(f"{FOLDER}/{run}.json")
            continue
        if record.error:
            record.error = "(left out)"
            _write(dataset, record)
        told = _read_profile(dataset, run)
        captions = told.get("captions") if told else None
        if not isinstance(captions, dict):
            dataset.remove(_profile(run))  # nobody can say what stands in it
        elif told and captions.get("words"):
            captions["words"] = {}
            dataset.write(_profile(run), json.dumps(told).encode())


def _read_profile(dataset: Dataset, run: str) -> dict[str, Any] | None:
    """None where there is none, or none that can be read: cut short by a full disk."""
    if not dataset.exists(_profile(run)):
        return None
    try:
        told = json.loads(dataset.read(_profile(run)))
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _profile(run: str) -> str:
    return f"{FOLDER}/{run}.profile.json"


def _write(dataset: Dataset, record: Record) -> None:
    dataset.write(f"{FOLDER}/{record.id}.json", json.dumps(asdict(record), indent=1).encode())


def _ids(dataset: Dataset) -> list[str]:
    names = (name.removesuffix(".json") for name in dataset.names(FOLDER) if name.endswith(".json"))
    return sorted(name for name in names if not name.endswith(".profile"))


def _read(dataset: Dataset, run: str) -> Record | None:
    return _parsed(dataset.read(f"{FOLDER}/{run}.json"))


def _parsed(data: bytes) -> Record | None:
    try:
        return Record(**json.loads(data))
    except (ValueError, TypeError, RecursionError):  # cut short by a full disk, or of a later version
        return None


def _prune(dataset: Dataset) -> None:
    known = _ids(dataset)
    if len(known) <= KEPT:
        return
    oldest = _read(dataset, known[-KEPT])
    for run in known[:-KEPT]:
        dataset.remove(f"{FOLDER}/{run}.json")
        if oldest is None or oldest.profile != run:
            dataset.remove(_profile(run))
