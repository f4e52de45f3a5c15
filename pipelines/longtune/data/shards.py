"""The shards of a split: `train/*.tar` as `curate run` packs them, or the tars of any other WebDataset folder."""

from __future__ import annotations

import re
from pathlib import Path

from pipelines.longtune.errors import TuneError, UsageError

_ADDRESS = re.compile(r"([a-z][a-z0-9+]+):/+(.+)")
"""An address with a scheme, as a path has it, which takes two slashes for one."""


def list_shards(folder: Path, split: str = "train") -> list[Path]:
    """The split's shards by name: `folder/split/*.tar`, else the tars in the folder itself.

    Raises:
        UsageError: there is no such folder.
        TuneError: it has no tars.
    """
    if address := _ADDRESS.match(str(folder)):
        url = f"{address[1]}://{address[2]}"
        raise UsageError(
            f"--shards {url}: takes are read at random places, which takes a disk; copy the shards to one first "
            f"(aws s3 sync {url} shards, gcloud storage rsync -r, azcopy copy --recursive) and name that folder"
        )
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; --shards takes the folder that holds {split}/*.tar")
    found = sorted((folder / split).glob("*.tar")) or sorted(folder.glob("*.tar"))
    if found:
        return [path.resolve() for path in found]
    if any((folder / "shards" / split).glob("*.tar")):
        raise TuneError(f"{folder}: no {split}/*.tar here; did you mean --shards {folder / 'shards'}?")
    raise TuneError(f"{folder}: no {split}/*.tar here; make shards of your videos with `curate run long_take` first")
