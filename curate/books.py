"""What stands in a dataset beside its tables after a run or a new decision: the recipe as run, and the summary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import yaml

from curate import __version__
from curate.dataset import Dataset
from curate.documents import DocumentError, read_yaml
from curate.ledger import Step
from curate.recipe import Recipe, RecipeError, parse

RECIPE, SUMMARY = "recipe.yaml", "summary.json"


def write_recipe(dataset: Dataset, recipe: Recipe) -> None:
    """The recipe as run, with every default, beside the data it made. One that is the same is left alone."""
    text = yaml.safe_dump({**recipe.dump(), "longtake": __version__}, sort_keys=False, allow_unicode=True, width=110)
    if not dataset.exists(RECIPE) or dataset.read(RECIPE) != text.encode():
        dataset.write(RECIPE, text.encode())


def read_recipe(dataset: Dataset, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe that a dataset was made by, with overrides on top.

    Raises:
        RecipeError: it or an override cannot be run with the stages that are installed.
    """
    return parse(dataset.read(RECIPE).decode(), f"{dataset.url}/{RECIPE}", overrides)


def recipe_values(dataset: Dataset) -> dict[str, Any]:
    """What that recipe says, whether or not its stages are installed here.

    Raises:
        RecipeError: it is no recipe.
    """
    try:
        values = read_yaml(dataset.read(RECIPE))
    except DocumentError as error:
        raise RecipeError(f"{dataset.url}/{RECIPE}: {error}") from error
    if not isinstance(values, dict) or not isinstance(values.get("stages"), dict) or "name" not in values:
        raise RecipeError(f"{dataset.url}/{RECIPE}: it is no recipe of a run; put back the one that was there")
    return values


def write_summary(dataset: Dataset, funnel: Sequence[Step], counted: dict[str, dict[str, int]]) -> None:
    shown = {"funnel": [vars(step) for step in funnel], "states": counted}
    dataset.write(SUMMARY, json.dumps(shown, indent=1).encode())


def read_summary(dataset: Dataset) -> dict[str, Any]:
    return dict(json.loads(dataset.read(SUMMARY)))


def states(book: pa.Table) -> dict[str, dict[str, int]]:
    """How many sources and clips of a ledger stand in each state."""
    counted: dict[str, dict[str, int]] = {
        kind: dict.fromkeys(("kept", "rejected", "failed"), 0) for kind in ("source", "clip")
    }
    for group in book.group_by(["kind", "state"]).aggregate([([], "count_all")]).to_pylist():
        counted[group["kind"]][group["state"]] = group["count_all"]
    return counted
