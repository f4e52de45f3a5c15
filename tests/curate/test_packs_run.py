"""Runs and purges on a dataset whose tables are packed: what it holds and what it redoes are as they were loose."""

import json
import shutil
from collections import Counter

import pytest
from difference import difference
from engine import compact, curate
from excerpts import excerpt
from rich.console import Console
from verbs import command

from curate import cluster
from curate.dataset import Dataset, to_arrow
from curate.packs import is_pack
from curate.place import Place
from curate.progress import Reporter
from curate.recipe import load
from curate.run import run
from schemas import errors

RECIPE = """
name: cheap
stages:
  signals: {}
  cuts: {detector: content}
  takes: {min_s: 1}
  select: {rules: {long: {column: clips.long_enough, equals: true, why: all of them}}}
"""


def packed(folder):
    """Every table in packs, as where sources are many."""
    dataset = Dataset(str(folder))
    for table in dataset.table_names():
        compact(dataset, table, 0)
    return folder


def contents(folder):
    """Every row of every table, however often it is there."""
    dataset = Dataset(str(folder))
    return Counter(
        f"{name} {row!r}" for name in dataset.table_names() for row in dataset.stored(name).to_table().to_pylist()
    )


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "cheap.yaml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture(scope="module")
def films(footage, tmp_path_factory):
    """The first seconds of a take under four contents, and two files that are no video."""
    folder = tmp_path_factory.mktemp("films")
    for number in range(4):
        excerpt(footage / "footage/takes/pancake.mkv", folder / f"{number}.mkv", 2)
        with open(folder / f"{number}.mkv", "ab") as file:
            file.write(b"\xec\x81" + bytes([number]))  # an EBML Void element
    for number in range(2):
        (folder / f"broken{number}.mp4").write_bytes(b"no video" + bytes([number]))
    return folder


@pytest.fixture(scope="module")
def made(films, recipe, scheduler, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "dataset"
    curate([films], output, scheduler, [], recipe)
    return output


@pytest.fixture
def copy(made, tmp_path):
    return packed(shutil.copytree(made, tmp_path / "dataset"))


def test_packed_it_is_the_same_dataset_and_there_is_nothing_to_do(made, copy, films, recipe, scheduler):
    assert contents(copy) == contents(made)
    assert {len(list(table.iterdir())) for table in (copy / "tables").iterdir()} == {1}
    before = {path: path.read_bytes() for path in copy.glob("tables/*/*.parquet")}
    assert curate([films], copy, scheduler, [], recipe).tasks == 0
    assert {path: path.read_bytes() for path in copy.glob("tables/*/*.parquet")} == before
    assert json.loads(command("status", copy, "--json").stdout)["parts"]["clips"] == 4


class Watching(Reporter):
    """Counts the loose parts of a table whenever a task is done."""

    def __init__(self, table):
        super().__init__(Console(stderr=True), quiet=True)
        self.table, self.most = table, 0

    def advance(self, *told):
        super().advance(*told)
        names = [path.name for path in self.table.glob("[!.]*.parquet")]
        self.most = max(self.most, sum(not is_pack(name) for name in names))


def test_a_step_of_many_tasks_packs_what_they_write_meanwhile(recipe, scheduler, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "UPKEEP_EVERY", 50)
    (tmp_path / "texts").mkdir()
    for number in range(800):
        (tmp_path / f"texts/{number}.mp4").write_text(f"no video {number}")
    dataset = tmp_path / "dataset"
    with Watching(dataset / "tables/inputs") as reporter:
        run(load(recipe), [str(tmp_path / "texts")], str(dataset), reporter, Place(scheduler))
    assert reporter.most < 700
    found = json.loads(command("status", dataset, "--json").stdout)
    assert found["states"]["source"] == {"kept": 0, "rejected": 0, "failed": 800}
    assert len(Dataset(str(dataset)).keys("inputs")) == 800


class Filing(Reporter):
    """Files errors as tries do that are killed before their parts are in place, as soon as those are to be made."""

    def __init__(self, dataset, keys):
        super().__init__(Console(stderr=True), quiet=True)
        self.dataset, self.keys = dataset, keys

    def step(self, name, *told):
        if name.startswith("signals"):
            row = {
                "source_id": "s",
                "clip_id": None,
                "path": "p",
                "stage": "t",
                "error": "E",
                "message": "m",
                "traceback": "",
            }
            for key in self.keys:
                self.dataset.write_part(errors.TABLE, key, to_arrow(errors.TABLE, [row]), {})
        super().step(name, *told)


def test_what_a_killed_try_filed_is_taken_back_though_tables_are_packed_meanwhile(
    films, recipe, scheduler, tmp_path, monkeypatch
):
    many = shutil.copytree(films, tmp_path / "films")
    for number in range(20):
        shutil.copy(films / "0.mkv", many / f"more{number}.mkv")
        with open(many / f"more{number}.mkv", "ab") as file:
            file.write(b"\xec\x81" + bytes([100 + number]))
    curate([many], tmp_path / "undisturbed", scheduler, [], recipe)
    undisturbed = Dataset(str(tmp_path / "undisturbed"))
    keys = {key for table in ("signals", "boundaries", "clips", "decodes") for key in undisturbed.keys(table)}
    dataset = Dataset(str(tmp_path / "dataset"))
    monkeypatch.setattr(cluster, "UPKEEP_EVERY", 1)
    with Filing(dataset, [*keys, *(f"{number:032x}" for number in range(300))]) as reporter:
        run(load(recipe), [str(many)], dataset.url, reporter, Place(scheduler))
    assert contents(dataset.root) == contents(undisturbed.root)


def test_a_packed_source_that_changed_is_done_again_and_no_other(copy, films, recipe, scheduler, tmp_path):
    moved = shutil.copytree(films, tmp_path / "films", copy_function=shutil.copy2)
    curate([moved], copy, scheduler, [], recipe)
    packed(copy)
    with open(moved / "1.mkv", "ab") as file:
        file.write(b"\xec\x81\x09")
    curate([moved], copy, scheduler, [], recipe)
    fresh = tmp_path / "fresh"
    curate([films, moved], fresh, scheduler, [], recipe)
    assert contents(copy) == contents(fresh)


def test_what_failed_is_tried_again_out_of_packs(made, copy, films, recipe, scheduler):
    summary = curate([films], copy, scheduler, [], recipe, retry_failed=True)
    assert summary.tasks
    assert summary.failed == 2
    assert contents(copy) == contents(made)


@pytest.mark.parametrize(
    ("how", "table"),
    [("torn", "clips"), ("torn", "inputs"), ("changed", "clips"), ("changed", "decodes"), ("changed", "errors")],
)
def test_a_damaged_pack_is_made_anew(table, how, made, copy, films, recipe, scheduler):
    (pack,) = (copy / "tables" / table).iterdir()
    data = bytearray(pack.read_bytes())
    if how == "torn":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 3] ^= 1
    pack.write_bytes(data)
    curate([films], copy, scheduler, [], recipe)
    assert contents(copy) == contents(made)
    assert not difference(made, copy).rows_lost


def test_inputs_are_not_forgotten_with_their_pack(made, copy, recipe, scheduler):
    (pack,) = (copy / "tables/inputs").iterdir()
    pack.write_bytes(pack.read_bytes()[:100])
    curate([], copy, scheduler, [], recipe)
    before, after = (Dataset(str(f)).stored("sources").to_table(columns=["source_id", "paths"]) for f in (made, copy))
    assert after.equals(before)


def test_a_purged_source_leaves_no_byte_in_packs(copy, scheduler):
    dataset = Dataset(str(copy))
    row = next(r for r in dataset.stored("sources").to_table().to_pylist() if r["path"].endswith("2.mkv"))
    assert command("purge", copy, "--source", row["source_id"], "--scheduler", scheduler).returncode == 0
    texts = [row["source_id"].encode(), b"2.mkv"]
    tables = {path: path.read_bytes() for path in copy.rglob("*.parquet")}
    assert tables
    for name in dataset.table_names():
        assert not [r for r in dataset.stored(name).to_table().to_pylist() if row["source_id"][:16] in repr(r)]
    assert not [path for path, data in tables.items() if any(text in data for text in texts)]
