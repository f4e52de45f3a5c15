"""The command `curate train feedback`. With `feedback`, the one part of the trainer that knows a dataset's engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipelines.longtune.errors import errors_for_people


def feedback(
    run: Annotated[Path, typer.Argument(help="A run's folder.", metavar="RUN")],
    dataset: Annotated[str, typer.Argument(help="The dataset directory.", metavar="DATASET")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as one JSON document.")] = False,
) -> None:
    """Put each clip's training loss beside the dataset, as the table `losses`, for `curate select`."""
    from curate.commands import existing, plain_errors
    from pipelines.longtune.feedback import feed_back

    with errors_for_people(stopped="stopped"), plain_errors():
        told = feed_back(run, existing(dataset))
    typer.echo(
        json.dumps(told)
        if as_json
        else f"{told['trained']} of {told['clips']} clips have a loss. Next, for example: curate select {dataset} "
        "--set 'select.rules.learnable={column: losses.mean, max_percentile: 95, unmeasured: accept}' --dry-run"
    )
