"""How long deciding over stored scores takes: `python tests/benchmarks/deciding.py [CLIPS]`, by default 1 000 000.

Makes the tables of so many clips as Parquet parts, then times the stage `select` over them, from the files to the
encoded decisions: nine thresholds of the bundled recipe, then a percentile, a condition of conditions and a quota on
top. At the end it times `curate select --dry-run` on them, which also makes the ledger and the funnel, twice.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml

from curate import books, ledger, plan, recipe
from curate.dataset import Dataset
from curate.keys import digest
from curate.parts import encode_part
from schemas import Table, clips, motion, quality, sources

CLIPS_PER_SOURCE = 20
BOUND_S = 5.0

DEAR = {
    "sharpest": {"column": "quality.sharpness", "min_percentile": 20},
    "lively": {
        "any": [
            {"column": "motion.subject_w_s", "min": 0.01},
            {"all": [{"column": "motion.camera", "equals": "pan left"}, {"column": "quality.luma", "min": 60}]},
        ]
    },
    "per_source": {"at_most": 5, "per": "clips.source_id", "best": "quality.sharpness"},
}


MIDDLES = {"sharpness": 150.0, "luma": 100.0, "contrast": 50.0, "duration_s": 12.0, "height": 720.0, "doubt": 0.05}
"""Medians of the made-up scores, of which most clips of real footage are not far; all others 0.05."""


def filled(table: Table, count: int, given: dict[str, object], seed: int) -> pa.Table:
    """`count` rows of a table: given columns, and plausible numbers for the others."""
    random = np.random.default_rng(seed)
    columns = []
    for field in table.schema:
        if field.name in given:
            value = given[field.name]
        elif pa.types.is_floating(field.type):
            middle = MIDDLES.get(field.name, 0.05)
            value = pa.array(
                random.lognormal(np.log(middle), 0.8, count),
                mask=random.random(count) < 0.01 if field.nullable else None,
            )
        elif pa.types.is_integer(field.type):
            value = pa.array(random.integers(0, 1000, count))
        elif pa.types.is_boolean(field.type):
            value = pa.array(random.random(count) < 0.8)
        elif pa.types.is_string(field.type) and not field.nullable:
            value = pa.array(["x"] * count)
        elif pa.types.is_list(field.type) and not field.nullable:
            value = pa.array([[]] * count, field.type)
        else:
            value = pa.nulls(count, field.type)
        columns.append(value.cast(field.type) if isinstance(value, (pa.Array, pa.ChunkedArray)) else value)
    return pa.Table.from_arrays(columns, schema=table.schema)


def make(folder: Path, count: int) -> recipe.Recipe:
    """A dataset of the tables that the bundled recipe's rules are about, as a recipe with those stages leaves it."""
    made = recipe.load("score_only", ["select.rules=" + yaml.safe_dump(rules(), default_flow_style=True)])
    dataset = Dataset(str(folder))
    dataset.write("recipe.yaml", yaml.safe_dump(made.dump(), sort_keys=False).encode())
    number = np.arange(count)
    source = pa.array([digest(int(n)) for n in range((count + CLIPS_PER_SOURCE - 1) // CLIPS_PER_SOURCE)])
    ids = {"source_id": source.take(pa.array(number // CLIPS_PER_SOURCE))}
    ids["clip_id"] = pa.array(np.char.add(np.asarray(ids["source_id"]), np.char.mod("-%06d", number)).tolist())
    names = {"camera": pa.array(np.array(["static", "pan left", "moving"])[number % 3])}
    for seed, (table, given) in enumerate(((clips.TABLE, {}), (motion.TABLE, names), (quality.TABLE, {}))):
        dataset.write_part(table, digest(table.name), filled(table, count, ids | given, seed), {})
    given = {"source_id": source, "path": pa.array([f"/v/{n}.mp4" for n in range(len(source))])}
    given |= {"user": pa.array(["{}"] * len(source)), "failure": pa.nulls(len(source), pa.string())}
    dataset.write_part(sources.SOURCES, digest("sources"), filled(sources.SOURCES, len(source), given, 7), {})
    return made


def finish(dataset: Dataset, recipe_: recipe.Recipe) -> None:
    """Decide, and write what a run leaves at its end."""
    (stage,) = [s for s in recipe_.stages if s.name == "select"]
    scanned = {t: dataset.scan(recipe_.writer(t).writes) for t in stage.inputs(recipe_.tables)}
    in_place = {t: sorted(dataset.keys(t)) for t in scanned}
    key = plan.table_task(stage, plan.State([], recipe_.tables, {}, in_place), [])["key"]
    dataset.write_part(stage.writes, key, pa.concat_tables(stage.run(scanned, None)), {})
    books.write_recipe(dataset, recipe_)
    keys = {t: sorted(dataset.keys(t)) for t in ("clips", "decisions", "errors")}
    listed = dataset.scan(sources.SOURCES).to_table().to_pylist()
    book = ledger.build(dataset, listed, keys, {s.writes.name: s.name for s in recipe_.stages})
    ledger.write(dataset, book)
    books.write_summary(dataset, ledger.funnel(dataset, book, keys), books.states(book))


def rules() -> dict[str, object]:
    return recipe.load("long_take").dump()["stages"]["select"]["rules"]


def timed(given: recipe.Recipe, folder: Path) -> tuple[float, int]:
    """Wall seconds from the files to the encoded decisions, best of three, and how many are kept."""
    stage = next(s for s in given.stages if s.name == "select")
    dataset = Dataset(str(folder))
    seen = {t: dataset.scan(given.writer(t).writes) for t in stage.inputs(given.tables)}
    best, kept = float("inf"), 0
    for _ in range(3):
        began = time.perf_counter()
        batches = list(stage.run(seen, None))
        encode_part(stage.writes, batches, {})
        best = min(best, time.perf_counter() - began)
        kept = sum(b["kept"].to_numpy().sum() for b in batches)
    return best, int(kept)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        plain = make(place, count)
        dear = recipe.load(str(place / "recipe.yaml"), [f"select.rules.{n}={yaml.safe_dump(r, default_flow_style=True)}" for n, r in DEAR.items()])  # fmt: skip # noqa: E501
        worst = 0.0
        for label, given in (("thresholds of long_take", plain), ("with percentile, any/all, quota", dear)):
            took, kept = timed(given, place)
            worst = max(worst, took)
            print(f"select, {label}: {count} clips in {took:.2f} s, {kept} kept")
        finish(Dataset(folder), plain)
        command = [sys.executable, "-m", "curate.cli", "select", folder, "--dry-run", "--json", "--set", "select.rules.moving.min=0.01"]  # fmt: skip # noqa: E501
        for _ in range(2):
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)
            print(f"curate select --dry-run, whole process: {time.perf_counter() - began:.2f} s")
    print(f"bound {BOUND_S} s: {'held' if worst <= BOUND_S else 'MISSED'}")
    sys.exit(worst > BOUND_S)


if __name__ == "__main__":
    main()
