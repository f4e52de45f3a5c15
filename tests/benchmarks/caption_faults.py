"""How many planted faults `verify` finds and repairs: `python tests/benchmarks/caption_faults.py [--tune] [--speed]`.

Trees of about 500 nodes with about 170 planted faults each, over seeds on which no threshold was chosen (`--tune`: on
which they were). Aims: 95 % found, repaired where the caption still exists, 2 % false alarms. `--speed`: CPU seconds
for 100 000 captions with vectors stored; the aim is 60.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))
from faults import Fault, planted
from scenario import Scenario

from schemas import caption_vectors, captions, tree
from stages.caption.judge import Verify
from stages.caption.meaning import Meaning

TUNED, JUDGED = range(20), range(100, 108)


def tables(made: Scenario, with_vectors: bool = True) -> dict[str, pa.Table]:
    found = {
        "tree": pa.Table.from_pylist(made.tree, tree.TABLE.schema),
        "captions": pa.Table.from_pylist(made.captions, captions.TABLE.schema),
    }
    if with_vectors:
        rows = list(Meaning().run(found, None))  # type: ignore[arg-type]
        found["caption_vectors"] = pa.Table.from_pylist(rows, caption_vectors.TABLE.schema)
    return found


def verified(inputs: dict[str, pa.Table]) -> dict[str, dict]:
    sets = {name: ds.dataset(table) for name, table in inputs.items()}
    return {row["node_id"]: row for part in Verify().run(sets, None) for row in part.to_pylist()}  # type: ignore[arg-type]


def main() -> None:
    if "--speed" in sys.argv:
        speed()
        return
    shown = "--show" in sys.argv
    for with_vectors in (True, False):
        totals: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for seed in TUNED if "--tune" in sys.argv else JUDGED:
            made, faults = planted(seed)
            for name, row in verified(tables(made, with_vectors)).items():
                fault = faults.get(name, Fault("none"))
                count = totals[fault.kind]
                count["planted"] += 1
                right = fault.text_from is not None and row["text_from"] == fault.text_from
                count["found"] += not row["passed"] or right
                count["repairable"] += fault.text_from is not None
                count["repaired"] += right and row["passed"]
                count["wrongly"] += row["text_from"] is not None and not right
                if shown and with_vectors and (fault.kind == "none") == bool(row["flags"]):
                    text = next(c["text"] for c in made.captions if c["node_id"] == name)
                    print(seed, fault, row["node_id"], row["flags"], row["aligned"], text, sep=" | ")
        told = Table("planted", "count", "found", "repaired", "another put there", title=f"vectors: {with_vectors}")
        for kind, count in sorted(totals.items()):
            repaired = f"{count['repaired'] / count['repairable']:.1%}" if count["repairable"] else ""
            told.add_row(
                kind, str(count["planted"]), f"{count['found'] / count['planted']:.1%}", repaired, str(count["wrongly"])
            )
        all_of = sum((count for kind, count in totals.items() if kind != "none"), Counter())
        told.add_row(
            "all", str(all_of["planted"]), f"{all_of['found'] / all_of['planted']:.1%}", "", str(all_of["wrongly"])
        )
        Console(width=120).print(told)


def speed() -> None:
    """100 000 captions of 200 sources; every vector is a random one, as only the time counts."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        sources = 0
        writers: dict[str, pq.ParquetWriter] = {}
        rows = 0
        while rows < 100_000:
            made, _ = planted(sources, f"source-{sources}")
            part = tables(made, with_vectors=False)
            found = rng.normal(size=(2, len(made.captions), 384)).astype(np.float32)
            found /= np.linalg.norm(found, axis=2, keepdims=True)
            part["caption_vectors"] = pa.table(
                {
                    "source_id": part["captions"]["source_id"],
                    "node_id": part["captions"]["node_id"],
                    "model": ["random"] * len(made.captions),
                    "vector": list(found[0]),
                    "facts_vector": list(found[1]),
                },
                schema=caption_vectors.TABLE.schema,
            )
            for name, table in part.items():
                if name not in writers:
                    writers[name] = pq.ParquetWriter(f"{folder}/{name}.parquet", table.schema)
                writers[name].write_table(table)
            rows += len(made.captions)
            sources += 1
        for writer in writers.values():
            writer.close()
        sets = {name: ds.dataset(f"{folder}/{name}.parquet") for name in writers}
        with threadpool_limits(1):  # as in a Dask worker; more threads spend their time waiting
            before = time.process_time()
            judged = sum(part.num_rows for part in Verify().run(sets, None))  # type: ignore[arg-type]
            print(f"{judged} captions of {sources} sources: {time.process_time() - before:.1f} s CPU")


if __name__ == "__main__":
    main()
