"""`curate purge`: take a source, a clip or somebody out of a dataset, everywhere and for good."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from curate import purge as purging
from curate import report as page
from curate import tombstones
from curate.books import read_recipe
from curate.commands import WRONG_USE, DatasetArgument, JsonOption, existing, logs, plain_errors, stop
from curate.commands.placed import placed
from curate.dataset import Dataset
from curate.place import Place
from curate.progress import Reporter
from curate.run import run as run_job
from curate.takedown import Takedown, Wanted


@placed
def purge(
    dataset: DatasetArgument,
    sources: Annotated[
        list[str] | None, typer.Option("--source", help="A source's id, or its path as given to -i; may be repeated.")
    ] = None,
    clips: Annotated[list[str] | None, typer.Option("--clip", help="A clip's id; may be repeated.")] = None,
    characters: Annotated[
        list[str] | None,
        typer.Option(
            "--character", help="A name of people or characters, a person's id, or SOURCE/LABEL; may be repeated."
        ),
    ] = None,
    keep_clips: Annotated[
        bool,
        typer.Option("--keep-clips", help="Of a character, take out name, face and portrait, but leave the takes."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; write nothing.")] = False,
    json_output: JsonOption = False,
    *,
    place: Place,
) -> None:
    """Take something out of every table, file and shard, so that no later run brings it back.

    Killed anywhere, the same command completes it. Copies that were exported elsewhere are not touched.
    """
    if not (sources or clips or characters):
        stop("say what is to go: --source, --clip or --character", WRONG_USE)
    if keep_clips and not characters:
        stop("--keep-clips goes with --character: a source and a clip go whole", WRONG_USE)
    console = logs()
    with plain_errors():
        stored = existing(dataset)
        recipe = read_recipe(stored)
        stones = tombstones.load(stored)
        if dry_run:
            wanted = _wanted(stored, stones, sources or [], clips or [], characters or [], keep_clips)
            found = purging.find(stored, recipe, stones.with_new(wanted.stones).only_pending())
            told = _told(wanted) | _counted(found) | {"dry_run": True}
        else:
            with stored.locked():
                stored.sweep()
                stones = tombstones.load(stored)
                wanted = _wanted(stored, stones, sources or [], clips or [], characters or [], keep_clips)
                reported = stored.exists(page.PAGE)
                stones = stones.with_new(wanted.stones)
                tombstones.bury(stored, stones)
                counted = _counted(purging.find(stored, recipe, stones.only_pending()))
                purging.settle(stored, recipe, stones)
            recipe = read_recipe(stored)
            with Reporter(console, quiet=json_output) as reporter:
                summary = run_job(recipe, [], dataset, reporter, place)
            if reported:
                page.write(stored)
            told = _told(wanted) | counted | {"dry_run": False, "run": asdict(summary)}
    if json_output:
        typer.echo(json.dumps(told))
    else:
        _show(told)


def _wanted(
    place: Dataset,
    stones: tombstones.Tombstones,
    sources: list[str],
    clips: list[str],
    characters: list[str],
    keep_clips: bool,
) -> Wanted:
    takedown = Takedown(place, stones)
    for given in sources:
        takedown.source(given)
    for given in clips:
        takedown.clip(given)
    for given in characters:
        takedown.character(given, keep_clips)
    return takedown.finish()


def _told(wanted: Wanted) -> dict[str, Any]:
    return {k: v for k, v in asdict(wanted).items() if k != "stones"}


def _counted(found: purging.Removal) -> dict[str, Any]:
    return {
        "parts_dropped": len(found.drop),
        "parts_rewritten": len(found.edit),
        "files_removed": len(found.files),
        "files_rewritten": len(found.tars),
    }


def _show(told: dict[str, Any]) -> None:
    would = "would be " if told["dry_run"] else ""
    what = [f"{len(told[kind])} {kind}" for kind in ("sources", "clips", "persons") if told[kind]]
    typer.echo(f"{', '.join(what) or 'Nothing new'} {would}taken out: {told['parts_dropped']} parts of tables and "
               f"{told['files_removed']} files {would}removed, {told['parts_rewritten'] + told['files_rewritten']} "
               f"{would}written anew.")  # fmt: skip
    for clip in told["copies"]:
        typer.echo(f"{clip} shows the same and stays; take it out as well with --clip")
    for path in told["left"]:
        typer.echo(f"{path!r} or its own columns say the name; rename it, or take it out with --source")
    typer.echo("What was exported or copied elsewhere is as it was.")
