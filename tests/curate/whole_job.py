"""A whole curation job on an object store, in processes that find the store and its keys by their environment alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from difference import Difference, difference
from engine import RECIPE
from hub_gateway import hub_gateway
from stores import Store, azure_server, gcs_server

CURATE = [sys.executable, "-m", "curate.cli"]
SETTINGS = "takes.min_s=1 clips.preset=ultrafast screen.rules={} select.rules={} pack.target_mb=1 limits.interval_s=10"

_UPLOAD = """
import pathlib, sys
from curate.folder import Folder
for video in map(pathlib.Path, sys.argv[2:]):
    Folder(sys.argv[1]).copy_in(video, video.name)
"""
_DOWNLOAD = """
import pathlib, sys
from curate.folder import Folder
place = Folder(sys.argv[1])
for name in set(place.tree("")) - {".lease"}:
    target = pathlib.Path(sys.argv[2], name)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(place.read(name))
"""

OTHERS = ["gs", "hf", "az"]
"""The stores that are spoken to by another client than S3's, or by another address."""


@contextmanager
def other_store(kind: str) -> Iterator[tuple[Store, str]]:
    """A server, empty, and an address there.

    Raises:
        FileNotFoundError: it is none of Python's and not installed.
    """
    if kind == "az" and not shutil.which("azurite-blob"):
        raise FileNotFoundError("needs azurite (npm install -g azurite)")
    if kind == "hf":
        with hub_gateway() as store:
            yield store, "hf://buckets/org/reels"
    else:
        with {"gs": gcs_server, "az": azure_server}[kind]() as store:
            yield store, f"{kind}://reels"


def command(inputs: Sequence[str], output: str) -> list[str]:
    settings = [word for setting in SETTINGS.split() for word in ("--set", setting)]
    given = [word for one in inputs for word in ("-i", one)]
    return [*CURATE, "run", RECIPE, *given, "-o", output, *settings, "--json"]


@dataclass(frozen=True)
class Job:
    """What came of it; the summaries are those of `curate run --json`."""

    first: dict[str, Any]
    again: dict[str, Any]
    found: Difference
    """From a dataset on a disk of the same sources."""


def ran(store: Store, words: Sequence[str]) -> str:
    """What a command says that finds the store by its environment."""
    done = subprocess.run(words, env=store.environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{words[1:6]} ended with {done.returncode}:\n{done.stderr[-3000:]}"
    return done.stdout


def whole_job(store: Store, place: str, videos: Sequence[Path], folder: Path) -> Job:
    """Films go to `place`/raw and are curated from there to `place`/set, twice.

    Args:
        folder: on a disk; gets a dataset of the same sources, and a copy of the store's.
    """
    raw, there = f"{place}/raw", f"{place}/set"
    ran(store, [sys.executable, "-c", _UPLOAD, raw, *map(str, videos)])
    ran(store, command([raw], str(folder / "disk")))
    first, again = (json.loads(ran(store, command([raw], there))) for _ in range(2))
    ran(store, [sys.executable, "-c", _DOWNLOAD, there, str(folder / "there")])
    return Job(first, again, difference(folder / "disk", folder / "there"))
