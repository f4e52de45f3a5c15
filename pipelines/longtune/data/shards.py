"""Reads the takes out of WebDataset shards, with webdataset's own tar and grouping code and none of its decoders.

Shards are hostile input: only the three known members are ever looked at, as bytes, so nothing is unpickled; a broken
shard or take is reported by name, and what is left of it is still read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webdataset.tariterators import group_by_keys, tar_file_expander

from pipelines.longtune.errors import TuneError, UsageError

_MEMBERS = (".mp4", ".json", ".txt")


class BadTakeError(ValueError):
    """This take cannot be used; the text says why, in the terms of its file."""


@dataclass(frozen=True)
class Take:
    """One sample as it lies in the shard, nothing decoded. `name` is shard:key, for people."""

    name: str
    key: str
    members: dict[str, Any]

    @property
    def mp4(self) -> bytes:
        """The video. Raises `BadTakeError` if the member is missing."""
        if "mp4" not in self.members:
            raise BadTakeError("has no .mp4 member")
        return self.members["mp4"]

    @property
    def caption(self) -> str:
        """The .txt member, or else the shot captions of the .json. Raises `BadTakeError` if there is neither."""
        try:
            if "txt" in self.members:
                return self.members["txt"].decode()
            captions = json.loads(self.members.get("json", b"{}"))["captions"]
            shots = [str(node["text"]) for node in captions if node["level"] == "shot"]
            return "\n".join([shots[0], *shots[1:]])
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise BadTakeError("has no readable caption in .txt or .json") from error


def list_shards(folder: Path, split: str = "train") -> list[Path]:
    """The split's shards by name. Raises `UsageError` or `TuneError` if there are none."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; --shards takes the folder that holds {split}/*.tar")
    found = sorted((folder / split).glob("*.tar"))
    if found:
        return [path.resolve() for path in found]
    if any((folder / "shards" / split).glob("*.tar")):
        raise TuneError(f"{folder}: no {split}/*.tar here; did you mean --shards {folder / 'shards'}?")
    raise TuneError(f"{folder}: no {split}/*.tar here; pack a data set with `curate shard` first")


def read_shard(path: Path, on_problem: Callable[[str, str], None]) -> Iterator[Take]:
    """Takes of one shard in its order; `on_problem(name, reason)` hears of what could not be read."""

    def handler(error: Exception) -> bool:
        on_problem(path.name, f"{type(error).__name__}: {str(error.args[0] if error.args else error).split(' @ ')[0]}")
        return True

    # The stream is opened here, not by webdataset: it reads a path as a URL (a '#' or 'pipe:' in a name would bite),
    # and leaves its file open.
    try:
        stream = path.open("rb")
    except OSError as error:
        on_problem(path.name, str(error))
        return
    with stream:
        source = {"url": str(path), "stream": stream}
        members = tar_file_expander([source], handler=handler, select_files=lambda name: name.endswith(_MEMBERS))
        for sample in group_by_keys(members, handler=handler):
            key = sample["__key__"]
            yield Take(f"{path.name}:{key}", key, sample)
