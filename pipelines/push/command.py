"""`curate push DATASET TARGET`: a dataset for others to use, on the Hugging Face Hub or in a folder laid out alike."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from curate.commands import FAILED, WRONG_USE, DatasetArgument, JsonOption, existing, logs, plain_errors, stop
from curate.dataset import Dataset
from curate.folder import decoded
from curate.scratch import scratch_folder
from pipelines.push import card, facts, licences, ready, table
from pipelines.push.files import CARD, LICENCE, Change, File, PushError, made
from pipelines.push.folder import FolderTarget
from pipelines.push.hub import SCHEME, HubTarget
from schemas import sources

_NO_LICENCE = (
    "say under which licence: --license apache-2.0 (or cc-by-4.0, …, other); a dataset without one is nobody's to use"
)


def push(
    dataset: DatasetArgument,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="hf://datasets/ORG/NAME, or a folder: local, s3://…")],
    license_: Annotated[
        str | None,
        typer.Option("--license", help="The Hub's name of it, such as cc-by-4.0; or `other`."),
    ] = None,
    license_link: Annotated[
        str | None, typer.Option("--license-link", metavar="URL", help="Of `--license other`: where it can be read.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make the repository private where it is new.")] = False,
    only_parquet: Annotated[
        bool, typer.Option("--only-parquet", help="Captions, scores and times alone; no videos.")
    ] = False,
    people: Annotated[
        bool, typer.Option("--people", help="Publish names of people, who is seen and who says what.")
    ] = False,
    paths: Annotated[bool, typer.Option("--paths", help="Publish where the sources lay, too.")] = False,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", help="A column of your input list beyond license, url and creator; may be repeated."),
    ] = None,
    contact: Annotated[
        str | None, typer.Option(help="Whom to ask for a removal; by default the repository's discussions.")
    ] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="Of the commit.")] = "Publish with curate push",
    squash: Annotated[
        bool, typer.Option("--squash", help="Forget all older versions on the Hub, and what only they hold.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written; write nothing.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Publish the kept clips: Parquet files, shards, and a page that says what they are and whose.

    Repeated, it moves what has changed alone, and takes away what is gone. Killed anywhere, the same command goes on.
    """
    console = logs()

    def say(text: str) -> None:
        if not json_output:
            console.print(text, highlight=False, markup=False)

    choice = table.Choice(not only_parquet, people, paths, tuple(columns or ()))
    with plain_errors():
        try:
            _licence(license_, license_link)
            place = existing(dataset)
            to = _target(place, target, private, squash)
            with place.locked(), scratch_folder() as folder:
                ready.finished(place)
                samples = ready.samples(place)
                _private(place, samples, choice)
                said = card.Said(
                    to.name.rstrip("/").rsplit("/", 1)[-1], to.link, license_ or "", license_link, contact,
                    isinstance(to, HubTarget), choice,
                )  # fmt: skip
                files, told = _files(place, samples, said, to, folder)
                say(f"{told['clips']} clips, {told['hours']:.2f} h, {len(files)} files for {to.name}")
                done, url = (to.compare(files), None) if dry_run else to.apply(files, message, say)
                squashed = to.squash(say) if squash and not dry_run and isinstance(to, HubTarget) else None
        except PushError as error:
            stop(str(error), FAILED)
    found = _found(done, told) | {"target": target, "url": url, "dry_run": dry_run, "squashed_files": squashed}
    if json_output:
        typer.echo(json.dumps(found))
    else:
        _show(found)


def _licence(given: str | None, link: str | None) -> None:
    if given is None:
        stop(_NO_LICENCE, WRONG_USE)
    if wrong := licences.unknown(given):
        stop(f"--license: {wrong}", WRONG_USE)
    if link and given != licences.OTHER:
        stop(f"--license-link goes with --license other; the Hub links {given} itself", WRONG_USE)


def _target(place: Dataset, target: str, private: bool, squash: bool) -> FolderTarget | HubTarget:
    if target.startswith("hf:"):
        return HubTarget(target, private)
    if private or squash:
        stop(f"--private and --squash are for {SCHEME}ORG/NAME; {target} is a folder", WRONG_USE)
    to = FolderTarget(target)
    if place.local and to.local and (to.root == place.root or to.root.startswith(f"{place.root}/")):
        raise PushError(f"{target} lies in the dataset; publish to a folder outside of it")
    return to


def _private(place: Dataset, samples: ready.Samples, choice: table.Choice) -> None:
    """Refuse to publish by accident who somebody is, or where something lies.

    Raises:
        PushError: the shards or captions say it, and nobody asked for that.
    """
    if not choice.people and (names := ready.named(place, samples)):
        raise PushError(
            f"{len(names)} people are named in captions or shards ({ready.shown(names)}): publish that with --people, "
            f"or take names out first, with curate purge {shlex.quote(place.url)} --character NAME --keep-clips"
        )
    if choice.shards and not choice.paths and (columns := ready.local_paths(samples)):
        raise PushError(
            f"the columns {ready.shown(columns)} of your list say where files lie on your disks, and shards hold them: "
            "leave them out of the list and run again, publish them with --paths, or no shards with --only-parquet"
        )


def _files(
    place: Dataset, samples: ready.Samples, said: card.Said, to: FolderTarget | HubTarget, folder: Path
) -> tuple[list[File], dict[str, Any]]:
    """Everything that is to be at the target, and what the page says of it."""
    stated = facts.said(samples, "license")
    counted = {name: list(stated.values()).count(name) for name in sorted(set(stated.values()))}
    if lines := licences.conflicts(said.license, counted):
        raise PushError(
            f"--license {said.license} does not go with the sources' own licences:\n  "
            + "\n  ".join(lines)
            + "\nLeave these sources out, or publish with --license other: a page then says each source's licence"
        )
    if said.license == licences.OTHER and not said.license_link and not any(stated.values()):
        raise PushError(
            "--license other says nothing by itself: give --license-link URL, or the sources' licences in a column "
            "`license` of the input list"
        )
    packed = ready.packed(place) if said.choice.shards else []
    paths = _paths(place) if said.choice.paths else {}
    tables = table.write(place, samples, said.choice, paths, folder)
    names = len(ready.named(place, samples)) if said.choice.people else 0
    told = facts.gather(place, samples, tables, names)
    sample = table.samples_schema(samples, table.members(place)) if packed else None
    pages = {CARD: card.page(said, told, tables.schema, sample, card.below(to.page()))}
    if said.license == licences.OTHER and not said.license_link:
        pages[LICENCE] = card.licence_page(said, told)
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return [*tables.files, *packed, *(made(name, folder / name) for name in pages)], told


def _paths(place: Dataset) -> dict[str, str]:
    rows = place.scan(sources.SOURCES).to_table(columns=["source_id", "path"]).to_pylist()
    return {row["source_id"]: decoded(row["path"]).encode(errors="replace").decode() for row in rows}


def _found(done: Change, told: dict[str, Any]) -> dict[str, Any]:
    return {
        "clips": told["clips"],
        "hours": told["hours"],
        "uploaded": [file.path for file in done.upload],
        "bytes": done.bytes,
        "deleted": list(done.delete),
        "unchanged": done.unchanged,
    }


def _show(found: dict[str, Any]) -> None:
    console = Console(soft_wrap=True)
    size = f"{len(found['uploaded'])} files ({found['bytes'] / 1e6:.1f} MB)"
    gone = f", delete {len(found['deleted'])}" if found["dry_run"] else f", {len(found['deleted'])} deleted"
    lead = f"would write {size}" if found["dry_run"] else f"{size} written"
    console.print(f"{lead}{gone}, {found['unchanged']} unchanged", highlight=False)
    if found["dry_run"]:
        for sign, paths in (("+", found["uploaded"]), ("-", found["deleted"])):
            for path in paths:
                console.print(f"{sign} {path}", highlight=False, markup=False)
    if found["squashed_files"] is not None:
        console.print(f"history squashed, {found['squashed_files']} old large files deleted", highlight=False)
    if found["url"]:
        console.print(f"Look at it: {found['url']}", highlight=False, markup=False)
