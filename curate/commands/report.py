"""`curate report`: the HTML page of a dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from curate import report as page
from curate.commands import FAILED, DatasetArgument, JsonOption, existing, plain_errors, stop


def report(
    dataset: DatasetArgument,
    copy: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="A local folder that gets the page and its clips as well."),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Write the report of a dataset: funnel, clips to play, captions, reasons, errors.

    It goes into the dataset, wherever that is; a browser opens the local copy of -o of one in a bucket.
    """
    with plain_errors():
        place = existing(dataset)
        if not place.exists("summary.json"):
            stop(f"{dataset}: its run did not finish; run the same command again first", FAILED)
        written = page.write(place, copy)
        path = str(copy / written) if copy else place.address(written)
    if json_output:
        typer.echo(json.dumps({"report": path}))
    elif copy or place.local:
        typer.echo(f"Open {path} in a browser.")
    else:
        typer.echo(f"Written to {path}. To look at it from a disk: curate report {dataset} -o DIR")
