"""What a run does about packs that a disk or a hand has damaged: they go, and the plan has their parts made anew.

Which parts those were, a torn pack no longer says. That matters for two tables: an input is known only by its row, and
a failure only by its errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from curate.check import Finding
from curate.dataset import Dataset, to_arrow
from curate.plan import ingest_key
from curate.stage import Row
from schemas import errors
from schemas.sources import INPUTS, SOURCES


def settle(dataset: Dataset, damaged: Sequence[Finding]) -> None:
    """Remove damaged packs, and finish what a killed process left. Only for the holder of the dataset's lock."""
    hit = {found.table for found in damaged}
    if INPUTS.name in hit:
        _remember(dataset)
    if errors.TABLE.name in hit:
        _forget(dataset)
    for found in damaged:
        dataset.remove(found.path)
    dataset.settle()


def _forget(dataset: Dataset) -> None:
    """Have all but the inputs done anew: without its errors, a part that could not be made would pass for one that
    was."""
    for table in set(dataset.table_names()) - {INPUTS.name, errors.TABLE.name}:
        for name in dataset.names(f"tables/{table}"):
            dataset.remove(f"tables/{table}/{name}")


def _remember(dataset: Dataset) -> None:
    """Write again, out of `sources`, what `inputs` said of paths that may not be named again in this run."""
    for row in _known(dataset):
        key = ingest_key(row["path"], row["fingerprint"], row["user"])
        dataset.write_part(INPUTS, key, to_arrow(INPUTS, [row]), {})


def _known(dataset: Dataset) -> Iterator[Row]:
    """Rows of `inputs`, one for each path of a source. A fingerprint is not known any more, so that a path which is
    named again is looked at again."""
    for batch in dataset.scan(SOURCES).to_batches():
        for source in batch.to_pylist():
            row = {name: source[name] for name in INPUTS.schema.names if name in source}
            yield from (row | {"path": path, "fingerprint": ""} for path in source["paths"])
