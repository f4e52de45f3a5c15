"""A run's losses, put beside the dataset that it was trained on: `losses.mean` is then a column that rules can use."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from curate.books import read_recipe
from curate.dataset import Dataset
from curate.recipe import RecipeError
from curate.redecide import UnfinishedError, add_table
from pipelines.longtune.errors import TuneError, UsageError
from schemas import losses

_FILE = "losses.parquet"


def feed_back(run: Path, place: Dataset) -> dict[str, Any]:
    """Fill the dataset's table `losses` from the run, and name the stage in its recipe; again, for a later state.

    Returns:
        clips: how many there are; trained: of how many a loss is known; the path of the losses.

    Raises:
        UsageError: the run has no losses, or no clip of the dataset was in it.
        TuneError: the dataset's own run did not finish.
    """
    file = (run if run.is_file() else run / _FILE).resolve()
    if not file.is_file():
        raise UsageError(f"{run}: has no {_FILE}; give the folder that `curate train -o` writes, after a checkpoint")
    content = read_recipe(place).dump()
    content["stages"][losses.TABLE.name] = {
        "file": str(file),
        "digest": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    try:
        add_table(place, content, losses.TABLE.name)
    except (RecipeError, UnfinishedError, ValueError) as error:
        raise TuneError(str(error)) from error
    stored = place.scan(losses.TABLE)
    return {
        "losses": str(file),
        "clips": stored.count_rows(),
        "trained": stored.count_rows(filter=ds.field("steps") > 0),
    }
