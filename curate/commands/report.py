"""`curate report`: the HTML page of a dataset."""

from __future__ import annotations

import json

import typer

from curate import report as page
from curate.commands import FAILED, DatasetArgument, JsonOption, existing, plain_errors, stop


def report(dataset: DatasetArgument, json_output: JsonOption = False) -> None:
    """Write the report of a dataset: funnel, clips to play, captions, reasons, errors."""
    with plain_errors():
        place = existing(dataset)
        if not place.exists("summary.json"):
            stop(f"{dataset}: its run did not finish; run the same command again first", FAILED)
        path = place.path(page.write(place))
        typer.echo(json.dumps({"report": path}) if json_output else f"Open {path} in a browser.")
