"""Whether a source is still the file that was identified: rows from before and after a change would be of neither."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar

from curate import keys, listing
from curate.folder import fetched
from curate.stage import Row
from curate.work.context import raise_if_storage

Read = TypeVar("Read")

TRIES = 3
"""How often a file is read that is touched meanwhile, but holds what it held."""

AGAIN = "the next run that is given it takes what it holds then for a new source"


class SourceChangedError(Exception):
    """A source was changed or removed since it was identified, or while it was read."""


def read_unchanged(source: Row, read: Callable[[], Read]) -> Read:
    """What `read` makes of a source that is the same before and after.

    Args:
        source: `path`, the `fingerprint` under which it was listed, and its `source_id`: by that a file that was only
            touched or put back is known. Without one, any change counts.

    Raises:
        SourceChangedError: it is another file now, or none. That comes before whatever `read` raised because of it.
    """
    known = source["fingerprint"]
    for _ in range(TRIES):
        known = _same(source, known)
        try:
            result = read()
        except Exception as error:
            raise_if_storage(error)
            if listing.look(source["path"]).fingerprint == known:
                raise
        else:
            if listing.look(source["path"]).fingerprint == known:
                return result
    _same(source, known)
    raise SourceChangedError(f"the file is written to all the time; {AGAIN}")


def _same(source: Row, known: str) -> str:
    """The fingerprint of the file as it is now, which is the known one or belongs to the same content."""
    now = listing.look(source["path"])
    if now.fingerprint == known:
        return known
    if now.failure:
        gone = "the file is gone" if now.fingerprint == listing.MISSING else f"the file {now.failure}"
        raise SourceChangedError(f"{gone} since it was listed; bring it back and run again with --retry-failed")
    if source["source_id"] is not None:
        with fetched(source["path"]) as local:
            if content_id(local) == source["source_id"]:
                return now.fingerprint
    raise SourceChangedError(f"the file was changed after it was listed, or while it was read; {AGAIN}")


def content_id(path: str) -> str:
    """What a source is known by wherever it lies: the hash of a local file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[: keys.LENGTH]
