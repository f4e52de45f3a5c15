"""What grounded captions cost beside the decode: `python tests/benchmarks/grounded.py DATASET`.

Of every source of a dataset that has a tree: CPU seconds of the stages `tree` and `caption` over its stored rows, and
of PyAV's bare decode loop on one thread, in the same process. The aim is a share of 5 % at most.
"""

from __future__ import annotations

import sys
import time

import pyarrow.compute as pc
from one_pass import bare
from rich.console import Console
from rich.table import Table

from curate.books import read_recipe
from curate.dataset import Dataset
from curate.stage import RowStage

ROUNDS = 3
"""The least of so many is told: timings of a shared machine only ever err upwards."""


def main() -> None:
    dataset = Dataset(sys.argv[1])
    recipe = read_recipe(dataset)
    stages = [stage for stage in recipe.stages if stage.name in ("tree", "caption") and isinstance(stage, RowStage)]
    told, whole = Table("source", "video s", "nodes", "decode CPU s", "tree + caption CPU s", "share"), [0.0, 0.0]
    for source in dataset.stored("sources").to_table().to_pylist():
        inputs = {}
        for stage in stages:
            for name in stage.inputs(recipe.tables):
                rows = dataset.stored(name).to_table(filter=pc.field("source_id") == source["source_id"])
                inputs[name] = rows
        if not inputs["tree"].num_rows:
            continue
        captioning = min(_timed(lambda: [list(s.run(inputs, None)) for s in stages]) for _ in range(ROUNDS))  # noqa: B023
        decoding = min(_timed(lambda: bare(source["path"])) for _ in range(ROUNDS))  # noqa: B023
        whole = [whole[0] + decoding, whole[1] + captioning]
        told.add_row(
            source["path"].rsplit("/", 1)[-1],
            f"{source['duration_s']:.0f}",
            str(inputs["tree"].num_rows),
            f"{decoding:.2f}",
            f"{captioning:.4f}",
            f"{captioning / decoding:.1%}",
        )
    told.add_row("all", "", "", f"{whole[0]:.2f}", f"{whole[1]:.4f}", f"{whole[1] / whole[0]:.1%}")
    Console().print(told)


def _timed(work: object) -> float:
    before = time.process_time()
    work()  # type: ignore[operator]
    return time.process_time() - before


if __name__ == "__main__":
    main()
