"""Packs: a table's parts in few files, whatever happens on the way there."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engine import compact
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from curate import packing
from curate.dataset import Dataset
from curate.folder import Folder
from curate.keys import digest
from curate.parts import damage
from schemas import Table, column

NOTES = Table(
    "notes",
    1,
    "What tests write.",
    pa.schema([column("source_id", pa.string(), "id", False), column("text", pa.string(), "anything")]),
)
FEW = 4
"""Loose parts that are left alone here."""


def put(dataset: Dataset, numbers: range, text: str = "a", stage: str = "s") -> list[str]:
    """A part for each number, of as many rows as its last digit says."""
    keys = [digest(number) for number in numbers]
    for number, key in zip(numbers, keys, strict=True):
        rows = [{"source_id": str(number), "text": f"{text}{row}"} for row in range(number % 10)]
        dataset.write_part(NOTES, key, pa.Table.from_pylist(rows, schema=NOTES.schema), {"stage": stage})
    return keys


def files(dataset: Dataset) -> dict[str, str]:
    """The table's files with their checksums."""
    names = dataset.names("tables/notes")
    return {name: hashlib.sha256(dataset.read(f"tables/notes/{name}")).hexdigest() for name in names}


def held(dataset: Dataset) -> dict[str, tuple[list[dict[str, str]], dict[str, str]]]:
    """Rows and provenance by key."""
    return {
        key: (dataset.read_part(NOTES, key).to_pylist(), dataset.provenance("notes", key))
        for key in sorted(dataset.keys("notes"))
    }


def test_packed_parts_are_what_loose_ones_were(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    keys = put(dataset, range(20)) + put(dataset, range(20, 30), stage="t")
    before, rows = held(dataset), sorted(map(str, dataset.scan(NOTES).to_table().to_pylist()))
    compact(dataset, "notes", FEW)
    (name,) = dataset.names("tables/notes")
    assert held(dataset) == before
    assert sorted(map(str, dataset.scan(NOTES).to_table().to_pylist())) == rows
    assert sorted(map(str, dataset.stored("notes").to_table().to_pylist())) == rows
    assert dataset.read_part(NOTES, keys[3], ["text"]).to_pylist() == [{"text": f"a{n}"} for n in range(3)]
    assert dataset.scan(NOTES, keys[:10]).count_rows() == sum(range(10))
    assert {key: part.num_rows for key, part in dataset.parts("notes")} == {k: n % 10 for n, k in enumerate(keys)}
    with open(tmp_path / "tables/notes" / name, "rb") as file:
        assert damage(file) is None
    with pytest.raises(FileNotFoundError):
        dataset.read_part(NOTES, digest("never"))


def test_any_reader_sees_the_columns_and_rows(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    put(dataset, range(30))
    compact(dataset, "notes", FEW)
    put(dataset, range(30, 33))
    path = f"{tmp_path}/tables/notes/*.parquet"
    found = duckdb.connect().read_parquet(path)
    assert found.columns == NOTES.schema.names
    assert len(found.fetchall()) == sum(n % 10 for n in range(33))
    schema = pq.read_schema(next(Path(tmp_path).glob("tables/notes/pack-*")))
    assert schema.field("text").metadata == {b"doc": b"anything"}


def test_few_parts_stay_loose(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    put(dataset, range(FEW))
    before = files(dataset)
    compact(dataset, "notes", FEW)
    assert files(dataset) == before


def test_what_is_written_over_a_pack_holds_and_what_was_there_is_gone(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    put(dataset, range(11, 20), text="secret")
    compact(dataset, "notes", FEW)
    (key,) = put(dataset, range(15, 16), text="open", stage="t")
    assert dataset.read_part(NOTES, key)["text"].to_pylist() == [f"open{n}" for n in range(5)]
    assert dataset.provenance("notes", key) == {"stage": "t"}
    texts = dataset.scan(NOTES).to_table().to_pylist()
    assert {row["text"][:4] for row in texts if row["source_id"] == "15"} == {"open"}
    assert sorted(map(str, dataset.stored("notes").to_table().to_pylist())) == sorted(map(str, texts))
    assert len(dataset.keys("notes")) == 9
    dataset.settle()
    for name in dataset.names("tables/notes"):
        rows = pq.read_table(tmp_path / "tables/notes" / name).to_pylist()
        assert not [row for row in rows if row["source_id"] == "15" and row["text"].startswith("secret")]


def test_dropped_parts_leave_no_byte(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    keys = put(dataset, range(21, 40))
    compact(dataset, "notes", FEW)
    keys += put(dataset, range(41, 43))
    gone = [keys[2], keys[5], keys[-1], digest("never there")]
    dataset.drop_parts("notes", gone)
    assert dataset.keys("notes") == set(keys) - set(gone)
    data = b"".join(dataset.read(f"tables/notes/{name}") for name in dataset.names("tables/notes"))
    assert not [key for key in gone if key.encode() in data]
    dataset.drop_parts("notes", keys)
    assert files(dataset) == {}


def test_a_table_that_grows_every_night_stays_few_files(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    most, nights = 0, 40
    for night in range(nights):
        put(dataset, range(10 * night, 10 * night + FEW + 1))
        compact(dataset, "notes", FEW)
        most = max(most, len(dataset.names("tables/notes")))
    assert most <= packing.FAN_IN
    assert len(dataset.keys("notes")) == nights * (FEW + 1)


def test_parts_of_two_versions_of_a_table_are_packed_apart(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    put(dataset, range(1, 10))
    wider = Table("notes", 2, "", NOTES.schema.append(column("more", pa.int64(), "")))
    for number in range(11, 20):
        rows = pa.Table.from_pylist([{"source_id": str(number), "text": "b", "more": 1}], schema=wider.schema)
        dataset.write_part(wider, digest(number), rows, {})
    compact(dataset, "notes", FEW)
    assert len(dataset.names("tables/notes")) == 2
    assert dataset.read_part(wider, digest(12)).column_names == wider.schema.names
    assert dataset.scan(wider).to_table()["more"].null_count == sum(range(10))


def test_many_parts_are_packed_in_shares_by_several_at_once(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    keys = put(dataset, range(100))
    before = held(dataset)
    shares = packing.shares(dataset, "notes", FEW, share=15)
    assert len(shares) == 7
    assert [len([k for k in keys if first <= k <= last]) for first, last in shares] == [14, 14, 14, 15, 14, 14, 15]
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(packing.gather, Dataset(str(tmp_path)), "notes", *share) for share in shares]:
            done.result()
    assert len(dataset.names("tables/notes")) == 7
    assert held(dataset) == before
    packing.gather(dataset, "notes", *shares[0])  # a second attempt at what was done
    put(dataset, range(100, 111))
    compact(dataset, "notes", FEW)
    assert len(dataset.names("tables/notes")) == 1
    assert {key: rows for key, rows in held(dataset).items() if key in before} == before


class Killed(BaseException):
    """The process is gone."""


@contextmanager
def dying_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Writes and removals of files, of which all after the first `steps` do not happen."""
    count = [0]
    write, remove = Folder.write, Folder.remove

    def counted(act: object) -> object:
        def acting(self: Folder, *arguments: object) -> None:
            if count[0] >= steps:
                raise Killed
            count[0] += 1
            act(self, *arguments)  # type: ignore[operator]

        return acting

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", counted(write))
        patch.setattr(Folder, "remove", counted(remove))
        yield count


@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_killed_anywhere_it_ends_as_if_undisturbed(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any history of nights, edits and drops; the last compaction killed at any of its steps, once or twice."""
    folder = tmp_path_factory.mktemp("packs")
    dataset = Dataset(str(folder / "a"))
    number = 0
    for _ in range(data.draw(st.integers(0, 9), "nights before")):
        more = data.draw(st.integers(1, 8))
        put(dataset, range(number, number + more))
        number += more
        compact(dataset, "notes", FEW)
        there = sorted(dataset.keys("notes"))
        if there:
            dataset.drop_parts("notes", data.draw(st.lists(st.sampled_from(there), max_size=3), "dropped"))
    put(dataset, range(number, number + data.draw(st.integers(0, 12))))
    if number and data.draw(st.booleans()):
        put(dataset, range(number // 2, number), text="edited")
    before = held(dataset)
    (folder / "a").mkdir(exist_ok=True)
    other = Dataset(str(shutil.copytree(folder / "a", folder / "b")))
    compact(dataset, "notes", FEW)
    for _ in range(data.draw(st.integers(1, 2), "kills")):
        with dying_after(data.draw(st.integers(0, 30), "steps"), monkeypatch):
            try:
                compact(other, "notes", FEW)
            except Killed:
                assert held(other) == before
    compact(other, "notes", FEW)
    assert held(other) == before == held(dataset)
    assert files(other) == files(dataset)


@pytest.mark.parametrize("steps", range(4))
def test_a_drop_that_was_killed_is_completed(steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset(str(tmp_path))
    keys = put(dataset, range(1, 10))
    compact(dataset, "notes", FEW)
    put(dataset, range(3, 4), text="later")
    with dying_after(steps, monkeypatch):
        try:
            dataset.drop_parts("notes", keys[2:4])
        except Killed:
            assert set(keys) - set(keys[2:4]) <= dataset.keys("notes") <= set(keys)
    assert keys[2] not in dataset.keys("notes") or dataset.read_part(NOTES, keys[2])["text"][0].as_py() == "later0"
    dataset.settle()
    dataset.drop_parts("notes", keys[2:4])
    assert dataset.keys("notes") == set(keys) - set(keys[2:4])
    assert len(dataset.names("tables/notes")) == 1
