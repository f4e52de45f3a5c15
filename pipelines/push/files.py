"""A file to be published, and the difference between what should be somewhere and what is there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from curate.dataset import Dataset

CARD, LICENCE, DATA, SHARDS = "README.md", "LICENSE.md", "data/", "shards/"

LARGEST = 5_000_000_000
"""Bytes of a file at most: more does not go to an object store in one piece, and no reader streams it well."""


class PushError(Exception):
    """Nothing was published, or not all; the message says why, and what to do."""


@dataclass(frozen=True)
class File:
    """A file by its path at the target, with forward slashes."""

    path: str
    bytes: int
    sha256: str
    local: Callable[[], AbstractContextManager[Path]]
    """The file on a local disk, for as long as the block lasts."""


def made(path: str, local: Path) -> File:
    """A file that was made for this, on a local disk."""
    with open(local, "rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return File(path, local.stat().st_size, checksum, lambda: nullcontext(local))


def of_dataset(dataset: Dataset, path: str, size: int, checksum: str) -> File:
    """A file of the dataset, published under its own path."""
    return File(path, size, checksum, lambda: dataset.fetch(path))


@dataclass(frozen=True)
class Change:
    """What is to be done at a target."""

    upload: tuple[File, ...]
    """Those that are not there as they should be; the page and what it links to come last."""
    delete: tuple[str, ...]
    unchanged: int

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.upload)

    def __bool__(self) -> bool:
        return bool(self.upload or self.delete)


def change(wanted: Iterable[File], there: Mapping[str, str | None], checksum: Callable[[File], str]) -> Change:
    """The difference.

    Args:
        there: checksum of each file at the target; None where it cannot be told.
        checksum: how the target names the content of a file.

    Only what a push writes is deleted: other files at the target are somebody's.
    """
    files = sorted(wanted, key=lambda file: (file.path in (CARD, LICENCE), file.path))
    new = tuple(file for file in files if there.get(file.path) is None or there[file.path] != checksum(file))
    names = {file.path for file in files}
    gone = tuple(sorted(path for path in there if path not in names and ours(path)))
    return Change(new, gone, len(files) - len(new))


def ours(path: str) -> bool:
    """Whether a path at a target is one that a push may have written."""
    if path in (CARD, LICENCE):
        return True
    data = path.startswith(DATA) and path.endswith(".parquet")
    return data or (path.startswith(SHARDS) and path.endswith((".tar", "/index.json")))


class Target(Protocol):
    """Somewhere to publish to."""

    name: str
    link: str
    """What a reader gives to `load_dataset`."""

    def compare(self, wanted: Iterable[File]) -> Change:
        """What would have to be done. Changes nothing."""
        ...

    def apply(self, wanted: Iterable[File], message: str, say: Callable[[str], None]) -> tuple[Change, str | None]:
        """Do it. Repeated after it was killed, it goes on from where it was.

        Returns:
            What was done, and where it can be looked at.
        """
        ...
