"""`curate export DATASET LAYOUT -o DIR`: a dataset as another trainer's loader reads it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from curate.commands import FAILED, DatasetArgument, JsonOption, existing, plain_errors, stop
from pipelines.export.dpo import dpo
from pipelines.export.fastvideo import fastvideo
from pipelines.export.folder import Out, whole
from pipelines.export.lines import prompts as prompt_lists
from pipelines.export.longlive import longlive1, longlive2
from pipelines.export.tables import lvd2m, open_sora, panda, videox_fun
from pipelines.export.taken import ExportError, Taken, read
from pipelines.export.timesuite import timesuite
from pipelines.export.webvtt import webvtt


class Layout(StrEnum):
    longlive1 = "longlive1"
    longlive2 = "longlive2"
    prompts = "prompts"
    open_sora = "open-sora"
    panda = "panda"
    lvd2m = "lvd2m"
    timesuite = "timesuite"
    webvtt = "webvtt"
    dpo = "dpo"
    fastvideo = "fastvideo"
    videox_fun = "videox-fun"


WRITERS: Mapping[Layout, tuple[Callable[[Taken, Out, int], int], str]] = {
    Layout.longlive1: (longlive1, "takes"),
    Layout.longlive2: (longlive2, "takes"),
    Layout.prompts: (prompt_lists, "takes"),
    Layout.open_sora: (open_sora, "takes"),
    Layout.panda: (panda, "takes"),
    Layout.lvd2m: (lvd2m, "takes"),
    Layout.timesuite: (timesuite, "questions"),
    Layout.webvtt: (webvtt, "takes"),
    Layout.dpo: (dpo, "pairs"),
    Layout.fastvideo: (fastvideo, "takes"),
    Layout.videox_fun: (videox_fun, "takes"),
}
"""Each layout's writer, which returns how many of what it wrote."""


def export(
    dataset: DatasetArgument,
    layout: Annotated[Layout, typer.Argument(help="Whose loader is to read it.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="A folder that is not there yet.")],
    prompts: Annotated[
        int, typer.Option(min=1, max=80, help="longlive1: prompts a video; its training knows two.")
    ] = 2,
    json_output: JsonOption = False,
) -> None:
    """Write the kept takes whose captions passed as another trainer reads them. Nothing is encoded anew."""
    write, unit = WRITERS[layout]
    with plain_errors():
        place = existing(dataset)
        try:
            taken = read(place)
            with whole(place, output) as out:
                written = write(taken, out, prompts)
        except ExportError as error:
            stop(str(error), FAILED)
    told = {"layout": layout.value, "output": str(output), "written": written, "unit": unit, "files": out.files}
    told |= {"takes": len(taken.takes), "left_out": taken.left_out}
    if json_output:
        typer.echo(json.dumps(told))
        return
    typer.echo(f"{written} {unit} of {len(taken.takes)} kept takes in {output} ({out.files} files)")
    if taken.left_out:
        typer.echo(f"{taken.left_out} kept takes were left out: some caption of theirs did not pass")
