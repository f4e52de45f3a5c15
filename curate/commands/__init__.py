"""The engine's own verbs, one file each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import duckdb
import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table

from curate.dataset import Dataset, DatasetBusyError
from curate.folder import storage_fault, storage_told
from curate.ledger import AuditError, Step
from curate.listing import InputError
from curate.place import ClusterError, PlaceError
from curate.recipe import RecipeError
from curate.remote import UrlError, redacted
from curate.single import VideoError
from curate.stage import DamagedError
from curate.terminal import legible
from curate.tombstones import TombstoneError
from curate.work import JobError

WRONG_USE = 2
FAILED = 1

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output and nothing else.")
]
DatasetArgument = Annotated[str, typer.Argument(help="The dataset directory.", metavar="DATASET")]


def logs() -> Console:
    """Where messages for people go: standard error, so that standard output can be piped on."""
    return Console(stderr=True, soft_wrap=True)


def stop(message: str, status: int) -> NoReturn:
    """End with a message and no traceback."""
    print(f"curate: {legible(redacted(message))}", file=sys.stderr)
    raise typer.Exit(status)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn the errors that a user can mend into one line and the right exit status."""
    try:
        yield
    except (RecipeError, InputError, PlaceError, UrlError) as error:
        stop(str(error), WRONG_USE)
    except (ClusterError, DatasetBusyError, JobError, AuditError, TombstoneError, VideoError) as error:
        stop(str(error), FAILED)
    except (DamagedError, pa.ArrowInvalid, duckdb.Error) as error:
        told = f"{error}; curate check names what is damaged, and the next curate run makes it anew"
        stop(" ".join(told.split()), FAILED)
    except OSError as error:
        if error.filename and (number := storage_fault(error)):
            stop(storage_told(number, str(error.filename)), FAILED)
        name = f"{error.filename}: " if error.filename else ""
        stop(f"{name}{error.strerror or error}", FAILED)
    except KeyboardInterrupt:
        stop("stopped; what is done is kept, and the same command goes on from here", 130)


def existing(url: str) -> Dataset:
    """A dataset that a run has made."""
    dataset = Dataset(url)
    if not dataset.exists("recipe.yaml"):
        stop(f"{url} is no dataset: it has no recipe.yaml; make one with curate run", WRONG_USE)
    return dataset


def funnel_table(steps: list[Step]) -> Table:
    """The retention funnel as a table for a terminal."""
    table = Table("step", "count", "hours", "of the hours before")
    before = None
    for step in steps:
        share = f"{step.hours / before:.0%}" if before else ""
        table.add_row(step.name, str(step.count), f"{step.hours:.3f}", share)
        before = step.hours
    return table
