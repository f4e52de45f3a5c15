"""What a disk or a hand has damaged is noticed, named, and made anew, to the last byte; what is whole is left alone."""

import json
import random
import shutil
import subprocess
import sys

import pytest
from difference import difference
from engine import curate, parts, rows

from curate import tombstones
from curate.dataset import Dataset
from curate.tombstones import Tombstone, Tombstones
from curate.work import JobError
from schemas import ledger, media, shards

TABLES = ("inputs", "sources", "decodes", "signals", "motion", "captions", "decisions", "media", "samples", "ledger")


@pytest.fixture(scope="module")
def folder(footage, tmp_path_factory):
    folder = tmp_path_factory.mktemp("footage")
    shutil.copy(footage / "footage/takes/mm_struct.mp4", folder)
    shutil.copy(footage / "footage/takes/pancake.mkv", folder)
    (folder / "text.mp4").write_text("this is no video")
    return folder


@pytest.fixture(scope="module")
def made(folder, scheduler, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "dataset"
    curate([folder], output, scheduler)
    return output


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "dataset", copy_function=shutil.copy2)


def part(dataset, table):
    """The largest part of a table."""
    return max((dataset / "tables" / table).iterdir(), key=lambda p: p.stat().st_size)


def flip(path, seed=0):
    data = bytearray(path.read_bytes())
    data[random.Random(seed).randrange(len(data))] ^= 16
    path.write_bytes(data)


def tear(path, seed=0):
    data = path.read_bytes()
    path.write_bytes(data[: random.Random(seed).randrange(len(data))])


def check(dataset, *words, status=0):
    command = [sys.executable, "-m", "curate.cli", "check", str(dataset), "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("spoil", [flip, tear])
def test_every_table_is_mended_by_the_next_run_and_then_nothing_is_left_to_do(made, copy, folder, scheduler, spoil):
    spoilt = [part(copy, table) for table in TABLES]
    for number, path in enumerate(spoilt):
        spoil(path, number)
    before = parts(copy)
    curate([folder], copy, scheduler)
    assert not difference(made, copy)
    redone = {name for name, time in parts(copy).items() if before.get(name) != time}
    # What was made of a source's damaged parts is made again with them.
    assert {str(p.relative_to(copy)) for p in spoilt} <= redone
    assert not difference(made, copy)
    before = parts(copy)
    curate([folder], copy, scheduler)
    assert parts(copy) == before


def test_an_error_that_is_damaged_is_filed_again(made, copy, folder, scheduler):
    flip(part(copy, "errors"))
    curate([folder], copy, scheduler)
    assert not difference(made, copy)


def test_no_source_is_forgotten_where_its_input_is_damaged_and_not_named_again(made, copy, folder, scheduler):
    for path in (copy / "tables/inputs").iterdir():
        tear(path)
    curate([], copy, scheduler)
    assert not difference(made, copy)


def test_a_source_that_has_moved_is_not_forgotten_either(copy, folder, scheduler, tmp_path):
    moved = tmp_path / "moved.mp4"
    shutil.copy(folder / "mm_struct.mp4", moved)
    curate([moved], copy, scheduler)
    moved.rename(tmp_path / "elsewhere.mp4")
    before = rows(copy, ledger.TABLE)
    for path in (copy / "tables/inputs").iterdir():
        flip(path)
    assert curate([], copy, scheduler).tasks == 0
    assert rows(copy, ledger.TABLE) == before


def test_a_run_that_cannot_know_its_inputs_stops_and_loses_nothing(made, copy, folder, scheduler):
    flip(part(copy, "inputs"))
    flip(part(copy, "sources"))
    before = parts(copy)
    command = [sys.executable, "-m", "curate.cli", "run", str(copy / "recipe.yaml"), "-o", str(copy), "-i"]
    done = subprocess.run([*command, str(folder / "text.mp4")], capture_output=True, text=True)
    assert done.returncode == 1
    assert "name all inputs with -i again" in done.stderr
    assert "Traceback" not in done.stderr
    assert parts(copy) == before
    # Letting go of them is noted too, for what was made of them must not stay as it was if they come back otherwise.
    check(copy, "--mend")
    assert {part["table"] for part in json.loads((copy / "redone.json").read_text())} == {"inputs", "sources"}
    curate([folder], copy, scheduler)
    assert not difference(made, copy)


def files(dataset):
    """A clip, a shard and an index."""
    clip = dataset / rows(dataset, media.TABLE)[0]["path"]
    shard = dataset / rows(dataset, shards.SHARDS)[0]["shard"]
    return [clip, shard, shard.with_name("index.json")]


def test_check_names_each_damaged_file_and_mends_it(made, copy, folder, scheduler):
    assert check(copy)["damaged"] == []
    spoilt = [*files(copy), part(copy, "motion")]
    for path in spoilt:
        flip(path)
    before = parts(copy)
    told = check(copy, status=1)
    assert {finding["path"] for finding in told["damaged"]} == {str(p.relative_to(copy)) for p in spoilt}
    assert parts(copy) == before
    assert check(copy, "--mend")["mended"]
    assert check(copy)["damaged"] == []
    assert curate([folder], copy, scheduler).tasks == 4
    assert not difference(made, copy)


@pytest.mark.parametrize("spoil", [tear, lambda path: path.unlink()])
def test_a_clip_or_shard_that_is_torn_or_missing_is_made_anew_by_the_next_run(made, copy, folder, scheduler, spoil):
    spoilt = files(copy)
    for path in spoilt[:2]:
        spoil(path)
    spoilt[2].unlink()
    assert curate([folder], copy, scheduler).tasks == 3
    assert not difference(made, copy)


def test_a_clip_that_is_damaged_is_in_no_shard(made, copy, folder, scheduler):
    flip(files(copy)[0])
    for shard in copy.glob("shards/*/*.tar"):
        shard.unlink()
    with pytest.raises(JobError, match=r"is damaged: its bytes are not those that were written; run the same command"):
        curate([folder], copy, scheduler)
    curate([folder], copy, scheduler)
    assert not difference(made, copy)


@pytest.mark.parametrize(
    "apart", [False, True], ids=["by the run that found it", "by a run after the damage was dropped"]
)
def test_what_was_made_of_rows_that_have_changed_is_made_anew(folder, scheduler, tmp_path, apart):
    """The source is away when its clips are, so that they cannot be made anew; then it is back."""
    away = shutil.copytree(folder, tmp_path / "in")
    (away / "mm_struct.mp4").touch()
    output = tmp_path / "out"
    curate([away], output, scheduler)
    whole = shutil.copytree(output, tmp_path / "whole")
    lost = next(r for r in rows(output, media.TABLE) if r["frames"])
    for row in rows(output, media.TABLE):
        (output / row["path"]).unlink()
    for name in ("mm_struct.mp4", "pancake.mkv"):
        (away / name).rename(tmp_path / name)
    if apart:
        check(output, "--mend")
    assert curate([], output, scheduler).states["clip"]["kept"] == 0
    assert lost["clip_id"] not in {key for shard in rows(output, shards.SHARDS) for key in shard["keys"]}
    for name in ("mm_struct.mp4", "pancake.mkv"):
        (tmp_path / name).rename(away / name)
    curate([], output, scheduler, retry_failed=True)
    assert not difference(whole, output)


def test_what_shows_a_damaged_dataset_says_so(copy):
    tear(part(copy, "captions"))
    tear(part(copy, "errors"))
    for verb in ("status", "report"):
        done = subprocess.run([sys.executable, "-m", "curate.cli", verb, str(copy)], capture_output=True, text=True)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "curate check" in done.stderr


def test_a_damaged_tombstone_stops_what_would_bring_back_what_was_purged(tmp_path):
    dataset, stones = Dataset(str(tmp_path)), Tombstones(bytes(32))
    tombstones.bury(dataset, stones.with_new([Tombstone("source", stones.owner("a" * 32))]))
    assert tombstones.load(dataset).source("a" * 32)
    (stone,) = tmp_path.glob("purged/*.json")
    tear(stone)
    with pytest.raises(tombstones.TombstoneError, match=f"{stone}.*damaged"):
        tombstones.load(dataset)
