"""Runs of the real engine on the shared cluster, and what they leave behind, for the tests of the engine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from curate import packing, packs
from curate import recipe as recipes
from curate.dataset import Dataset
from curate.place import Place
from curate.progress import Reporter
from curate.run import Summary, run
from schemas import Table

RECIPE = str(Path(__file__).with_name("engine.yaml"))
"""The whole chain, without the networks of the bundled recipe: what is tested is the engine."""

# Everything of a source is a clip, so that short test footage goes all the way.
EVERYTHING = ["takes.min_s=1", "screen.rules={}", "select.rules={}", "clips.preset=ultrafast"]


def curate(
    inputs: Sequence[Path | str],
    output: Path,
    scheduler: str,
    overrides: Sequence[str] = EVERYTHING,
    recipe: str = RECIPE,
    retry_failed: bool = False,
) -> Summary:
    """`curate run` in this process, on the tests' cluster."""
    plan = recipes.load(recipe, list(overrides))
    with Reporter(Console(stderr=True), quiet=True) as reporter:
        return run(plan, [str(i) for i in inputs], str(output), reporter, Place(scheduler), retry_failed)


def rows(dataset: Path, table: Table) -> list[dict[str, Any]]:
    """All rows of a table, in an order of their own."""
    found = Dataset(str(dataset)).scan(table).to_table().to_pylist()
    return sorted(found, key=repr)


def parts(dataset: Path) -> dict[str, int]:
    """Every part in place, with the time it was written."""
    return {str(p.relative_to(dataset)): p.stat().st_mtime_ns for p in dataset.glob("tables/*/*.parquet")}


def compact(dataset: Dataset, table: str, most_loose: int) -> None:
    """Pack a table as the engine's workers do."""
    crowded = packing.crowded(packs.view(dataset, table), most_loose)
    for first, last in packing.shares(dataset, table, most_loose) if crowded else ():
        packing.gather(dataset, table, first, last)
    packing.merge(dataset, table)


def fingerprint(dataset: Path) -> dict[str, str]:
    """Checksums of all that must be the same however a dataset came about."""
    files = [
        p for p in dataset.rglob("*") if p.is_file() and p.name not in (".lock", ".lease") and p.parent.name != "runs"
    ]
    return {str(p.relative_to(dataset)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
