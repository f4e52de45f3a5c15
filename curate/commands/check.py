"""`curate check`: whether every file of a dataset is what was written."""

from __future__ import annotations

import json
import threading
import time
from typing import Annotated, Any

import typer

from curate import check as checking
from curate import mending
from curate.books import read_recipe
from curate.commands import FAILED, DatasetArgument, JsonOption, existing, plain_errors
from curate.dataset import Dataset
from curate.listing import Listing


def check(
    dataset: DatasetArgument,
    mend: Annotated[
        bool, typer.Option("--mend", help="Drop what is damaged, so that the next curate run makes it anew.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Read every part, clip, shard and index, and compare it with its checksum.

    Exit status 1 if something is damaged and was not dropped.
    """
    with plain_errors():
        place = existing(dataset)
        if mend:
            with place.locked():
                told = _look(place)
                told["mended"] = _mend(place, told["damaged"])
        else:
            told = _look(place)
        bad = told["damaged"]
        told["damaged"] = [vars(finding) for finding in bad]
        if json_output:
            typer.echo(json.dumps(told))
        else:
            _show(told, dataset)
    if bad and not mend:
        raise typer.Exit(FAILED)


def _look(place: Dataset) -> dict[str, Any]:
    """What is damaged, and how much was read."""
    began, read, lock = time.monotonic(), 0, threading.Lock()

    def tell(count: int) -> None:
        nonlocal read
        with lock:
            read += count

    bad = checking.parts(place, tell)
    bad += checking.files(place, bad, whole=True, tell=tell)
    return {"bytes": read, "seconds": round(time.monotonic() - began, 3), "damaged": bad, "mended": False}


def _mend(place: Dataset, bad: list[checking.Finding]) -> bool:
    if bad:
        recipe = read_recipe(place)
        try:
            mending.drop(place, recipe, bad, Listing())
        except mending.InputsLostError:
            mending.drop(place, recipe, bad, Listing(), forget=True)
            typer.echo(
                "Which inputs those were is not known any more: name all of them with -i in the next run.", err=True
            )
    return bool(bad)


def _show(told: dict[str, Any], dataset: str) -> None:
    for finding in told["damaged"]:
        part = f"; made by the task of tables/{finding['table']}/{finding['key']}.parquet" if finding["table"] else ""
        own = finding["table"] and finding["path"].startswith("tables/")
        typer.echo(f"{finding['path']}: {finding['what']}{'' if own else part}")
    speed = told["bytes"] / 1e6 / max(told["seconds"], 1e-3)
    typer.echo(f"{told['bytes'] / 1e6:.1f} MB read in {told['seconds']:.1f} s ({speed:.0f} MB/s): "
               f"{len(told['damaged']) or 'nothing'} damaged.")  # fmt: skip
    if told["damaged"]:
        done = "was dropped" if told["mended"] else f"is dropped by: curate check {dataset} --mend"
        typer.echo(f"It {done}. The next curate run on {dataset} makes it anew.")
