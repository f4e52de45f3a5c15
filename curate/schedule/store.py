"""Schedules on disk: a YAML file each, that a person may read, edit and keep under version control.

Beside `NAME.yaml` lies the folder `NAME`: the history of its runs, a line each, and their logs.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
import yaml
from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from curate.documents import DocumentError, read_yaml
from curate.place import Place

FOLDER_VARIABLE = "LONGTAKE_SCHEDULES"


class ScheduleError(Exception):
    """A schedule that is not there, cannot be read or cannot be; the message names it and the cure."""


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone; give a name such as Europe/Berlin or UTC") from error
    return name


def _cron(text: str) -> str:
    try:
        next(CronSim(text, datetime.now(UTC)))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"{text!r} is no cron expression that ever comes; five fields, such as '0 2 * * *'") from error
    return text


def _web(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise ValueError(f"{url!r} is no http(s) address")
    return url


class Schedule(BaseModel):
    """A recipe over some inputs, again and again. Only what is new or has changed is done each time."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$")
    """Lower-case letters, digits and dashes, as Kubernetes wants of a CronJob (52 at most)."""
    recipe: str
    inputs: list[str] = Field(min_length=1)
    output: str
    cron: Annotated[str, AfterValidator(_cron)]
    """Minute, hour, day of month, month, day of week, as in Debian's cron (Sunday is 0 or 7)."""
    timezone: Annotated[str, AfterValidator(_zone)]
    """What the cron expression's hours are of."""
    created: datetime
    """Nothing that was due before is caught up with."""
    overrides: list[str] = []
    scheduler: str | None = None
    """These five are where the work is done, as options of `curate run`."""
    workers: int | None = Field(None, ge=1)
    tls_ca_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    retry_failed: bool = False
    strict: bool = False
    """A run that leaves failed sources or clips counts as failed."""
    longest_h: float | None = Field(None, gt=0)
    """A run that takes longer is stopped (what is done is kept), hours."""
    fail_over: float | None = Field(None, ge=0, le=1)
    """A run whose scores lie farther from the run before than this counts as drifted; see `curate compare`."""
    on_failure_command: list[str] = []
    """Program and arguments, started without a shell, with the run as JSON on its standard input."""
    on_failure_webhook: Annotated[str, AfterValidator(_web)] | None = None
    """Gets the run as JSON by POST."""

    @model_validator(mode="after")
    def _place_can_be(self) -> Schedule:
        _ = self.place
        return self

    @property
    def place(self) -> Place:
        """Where its runs do their work."""
        return Place(**{item.name: getattr(self, item.name) for item in fields(Place)})

    def due_after(self, moment: datetime) -> datetime:
        """The first time after a moment at which it is due, in UTC."""
        return next(CronSim(self.cron, moment.astimezone(ZoneInfo(self.timezone)))).astimezone(UTC)

    def due_before(self, moment: datetime) -> datetime:
        """The last time up to a moment at which it was due, in UTC."""
        after = moment.astimezone(ZoneInfo(self.timezone)) + timedelta(seconds=1)
        return next(CronSim(self.cron, after, reverse=True)).astimezone(UTC)

    def command(self) -> list[str]:
        """Arguments of `curate` for one run."""
        words = ["run", self.recipe, "-o", self.output, "--json"]
        for given in self.inputs:
            words += ["-i", given]
        for override in self.overrides:
            words += ["--set", override]
        words += self.place.options()
        words += ["--retry-failed"] if self.retry_failed else []
        return words + (["--strict"] if self.strict else [])


class Store:
    """The folder of the schedules: `LONGTAKE_SCHEDULES`, or `schedules` in the user's configuration folder."""

    def __init__(self, folder: Path | None = None) -> None:
        named = os.environ.get(FOLDER_VARIABLE)
        self.folder = folder or (Path(named) if named else Path(typer.get_app_dir("longtake")) / "schedules")

    def names(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.yaml"))

    def add(self, schedule: Schedule) -> Path:
        """Put a new one in place.

        Raises:
            ScheduleError: there is one of that name.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._file(schedule.name)
        text = yaml.safe_dump(schedule.model_dump(mode="json", exclude_defaults=True), sort_keys=False, width=110)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.unlink(missing_ok=True)  # of a killed process that had our number
        # An address of a web hook is often its own password: nobody else may read it.
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        try:
            os.link(partial, path)  # unlike a rename, it never replaces what is there
        except FileExistsError as error:
            raise ScheduleError(f"there is a schedule {schedule.name!r}; remove it first, or edit {path}") from error
        finally:
            partial.unlink()
        return path

    def get(self, name: str) -> Schedule:
        """One of them.

        Raises:
            ScheduleError: it is not there, or its file is wrong.
        """
        path = self._file(name)
        try:
            values = read_yaml(path.read_bytes())
            if not isinstance(values, dict):
                raise ScheduleError(f"{path}: a schedule is a mapping of keys to values")
            found = Schedule.model_validate(values)
        except FileNotFoundError as error:
            known = ", ".join(self.names()) or "there is none yet; curate schedule add makes one"
            raise ScheduleError(f"no schedule {name!r} in {self.folder}: {known}") from error
        except ValidationError as error:
            raise ScheduleError(f"{path}: {faults(error)}") from error
        except DocumentError as error:
            raise ScheduleError(f"{path}: not YAML: {error}") from error
        if found.name != name:
            raise ScheduleError(f"{path}: says its name is {found.name!r}; rename the file or the schedule")
        return found

    def remove(self, name: str) -> None:
        """Take one away; its history and logs stay.

        Raises:
            ScheduleError: it is not there.
        """
        try:
            self._file(name).unlink()
        except FileNotFoundError as error:
            raise ScheduleError(f"no schedule {name!r} in {self.folder}") from error

    def beside(self, name: str) -> Path:
        """The folder of one's history and logs, made if it is not there."""
        folder = self._file(name).with_suffix("")
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def held(self, name: str) -> Iterator[int]:
        """Be the only one to run it. Yields the lock's descriptor: who inherits it holds the lock, too.

        Raises:
            ScheduleError: a run of it is under way.
        """
        with open(self.beside(name) / ".lock", "w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ScheduleError(f"{name}: the run before is still under way") from error
            yield handle.fileno()

    def running(self, name: str) -> bool:
        try:
            with self.held(name):
                return False
        except ScheduleError:
            return True

    def log(self, name: str, row: Mapping[str, Any]) -> None:
        """Remember a run's beginning or end: the later line of an id replaces the earlier."""
        with (self.beside(name) / "history.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")

    def history(self, name: str) -> list[dict[str, Any]]:
        """The runs, the oldest first. One that neither ended nor is under way has the state `killed`."""
        path = self.beside(name) / "history.jsonl"
        found: dict[str, dict[str, Any]] = {}
        for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
            try:
                row = json.loads(line)
                if {"id", "state"} <= row.keys():
                    found[row["id"]] = row
            except (ValueError, AttributeError, TypeError, RecursionError):  # cut short by a kill or a full disk
                continue
        rows = list(found.values())
        under_way = self.running(name)
        for number, row in enumerate(rows, start=1):
            if row["state"] == "running" and not (under_way and number == len(rows)):
                row["state"] = "killed"
        return rows

    def _file(self, name: str) -> Path:
        if "/" in name or name.startswith("."):
            raise ScheduleError(f"{name!r} cannot be a schedule's name")
        return self.folder / f"{name}.yaml"


def faults(error: ValidationError) -> str:
    """What a schedule's values lack, in a line."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc'])}: {item['msg'].removeprefix('Value error, ')}"
        for item in error.errors()
    )
