"""The command `curate train verify`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from pipelines.longtune.errors import errors_for_people

if TYPE_CHECKING:
    from pipelines.longtune.proofs.subject import Proof

_COLOURS = {"pass": "green", "fail": "red", "skip": "yellow"}


def verify(
    checkpoint: Annotated[Path, typer.Argument(help="A run's folder, or its checkpoint.")],
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute; auto takes a GPU where there is one.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the proofs as one JSON document.")] = False,
) -> None:
    """Prove on a checkpoint that what it streams is what it was trained for. Exit code 1 if a proof fails.

    Masks, cache, positions, prompt switches, flat memory, gradients, adapters, eight bits: each is measured on the
    generator's own weights in float32, with random frames of a few tokens. It takes the memory of the transformer and
    VAE in float32 (6 GB for Wan2.1's 1.3B).
    """
    with errors_for_people(stopped="stopped"):
        from pipelines.longtune.verify import verify as prove_all

        def show(proof: Proof) -> None:
            typer.echo(f"{proof.result}  {proof.name}", err=True)

        proofs = prove_all(checkpoint, device, lambda line: typer.echo(line, err=True), show)
    failed = [proof for proof in proofs if proof.result == "fail"]
    if as_json:
        rows = [asdict(proof) | {"result": proof.result} for proof in proofs]
        typer.echo(json.dumps({"checkpoint": str(checkpoint), "passed": not failed, "proofs": rows}))
    else:
        Console(width=None if Console().is_terminal else 160).print(_table(proofs))
    if failed:
        raise typer.Exit(1)


def _table(proofs: list[Proof]) -> Table:
    table = Table("property", "measured", "bound", "result", "on what", title="what this checkpoint was held to")
    for proof in proofs:
        bound = f"{'<=' if proof.holds == 'at most' else '>='} {proof.tolerance:.1g}"
        measured = "" if proof.measured is None else f"{proof.measured:.2g}"
        table.add_row(proof.name, measured, bound, f"[{_COLOURS[proof.result]}]{proof.result}[/]", proof.detail)
    return table
