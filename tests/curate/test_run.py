"""Runs on real footage: what is done once is not done again, and what changes redoes only what depends on it."""

import json
import os
import shutil
import tarfile
from fractions import Fraction
from itertools import pairwise

import av
import films
import pyarrow.parquet as pq
import pytest
import webdataset
from engine import EVERYTHING, curate, fingerprint, parts, rows
from excerpts import excerpt
from torch.utils.data import DataLoader

from curate.parts import PROVENANCE
from schemas import captions, clips, decisions, ledger, media, motion, shards, sources


@pytest.fixture(scope="module")
def folder(footage, tmp_path_factory):
    """Of two real takes the beginnings, one twice under another name, and a list with columns of the user's own."""
    folder = tmp_path_factory.mktemp("footage")
    for name, seconds in (("pancake.mkv", 6), ("mm_struct.mp4", 4)):
        excerpt(footage / "footage/takes" / name, folder / name, seconds)
    shutil.copy(folder / "pancake.mkv", folder / "same content.mkv")
    (folder / "list.csv").write_text("path,licence,original caption\nmm_struct.mp4,CC BY 4.0,a crane\n")
    return folder


@pytest.fixture(scope="module")
def made(folder, scheduler, tmp_path_factory):
    """(dataset, summary) of a run over the folder and the list."""
    output = tmp_path_factory.mktemp("out") / "dataset"
    return output, curate([folder, folder / "list.csv"], output, scheduler)


@pytest.fixture
def copy(made, tmp_path):
    """A copy of the dataset to change, with its times kept."""
    return shutil.copytree(made[0], tmp_path / "dataset", copy_function=shutil.copy2)


def test_a_run_ends_with_every_clip_packed(made):
    output, summary = made
    assert summary.failed == 0
    assert summary.states["source"]["kept"] == 2
    kept = {r["clip_id"] for r in rows(output, ledger.TABLE) if r["kind"] == "clip" and r["state"] == "kept"}
    assert kept == {r["clip_id"] for r in rows(output, media.TABLE)}
    assert kept == {key for shard in rows(output, shards.SHARDS) for key in shard["keys"]}
    assert kept <= {r["clip_id"] for r in rows(output, captions.TABLE)}
    assert [step.name for step in summary.funnel] == ["sources", "readable", "takes", "kept"]


def test_the_same_content_under_two_names_is_one_source(made, folder):
    output, _ = made
    found = {tuple(os.path.basename(p) for p in r["paths"]) for r in rows(output, sources.SOURCES)}
    assert found == {("pancake.mkv", "same content.mkv"), ("mm_struct.mp4",)}


def test_the_users_columns_reach_the_samples(made):
    output, _ = made
    found = [json.loads(sample["json"])["source"] for sample in rows(output, shards.SAMPLES)]
    assert {"licence": "CC BY 4.0", "original caption": "a crane"} in found
    assert {} in found


def test_running_again_does_nothing(made, folder, scheduler):
    output, _ = made
    before = fingerprint(output), parts(output)
    summary = curate([folder, folder / "list.csv"], output, scheduler)
    assert summary.tasks == 0
    assert (fingerprint(output), parts(output)) == before


def test_a_moved_source_is_not_done_again(made, copy, folder, scheduler, tmp_path):
    moved = shutil.copytree(folder, tmp_path / "moved")
    before = parts(copy)
    curate([moved, moved / "list.csv"], copy, scheduler)
    kept = ("signals", "motion", "media", "captions", "samples", "shards", "decisions")
    same = {name for name, time in before.items() if parts(copy).get(name) == time}
    assert {name for name in before if name.split("/")[1] in kept} <= same


def test_adding_a_source_does_only_that_source(copy, folder, footage, scheduler, tmp_path):
    before = parts(copy)
    curate([excerpt(footage / "footage/edited/bikes.mp4", tmp_path / "bikes.mp4", 3)], copy, scheduler)
    after = parts(copy)
    for table in ("signals", "motion_series", "picture_series", "boundaries", "clips", "motion", "media", "captions"):
        old = {n: t for n, t in before.items() if n.split("/")[1] == table}
        assert old.items() <= {n: t for n, t in after.items() if n.split("/")[1] == table}.items()
        assert sum(n.split("/")[1] == table for n in after) == len(old) + 1
    assert len(rows(copy, sources.SOURCES)) == 3


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ("motion.static_below_w_s=0.01", {"motion", "tree", "captions"}),
        ("tree.dark_below=255", {"tree", "captions"}),
        ("clips.crf=30", {"media"}),
        ("flow.fps=1", {"motion_series", "motion", "tree", "captions"}),
        ("takes.erode_hard=2", {"clips", "motion", "quality", "media", "tree", "captions"}),
        ("limits.memory_gib=3", set()),
    ],
)
def test_a_changed_parameter_redoes_its_stage_and_what_depends_on_it(copy, folder, scheduler, change, redone):
    per_source = {
        "signals",
        "motion_series",
        "picture_series",
        "boundaries",
        "clips",
        "motion",
        "quality",
        "media",
        "tree",
        "captions",
    }
    before = parts(copy)
    summary = curate([folder, folder / "list.csv"], copy, scheduler, [*EVERYTHING, change])
    after = parts(copy)
    for table in per_source:
        old = {n: t for n, t in before.items() if n.split("/")[1] == table}
        new = {n: t for n, t in after.items() if n.split("/")[1] == table}
        if table not in redone:
            assert new == old, f"{table} was redone"
        else:
            assert not set(new) & set(old), f"{table} was not redone"
            assert len(new) == len(old)
    assert bool(summary.tasks) == bool(redone)


def test_a_change_and_back_gives_the_first_dataset_again(made, copy, folder, scheduler):
    curate([folder, folder / "list.csv"], copy, scheduler, [*EVERYTHING, "takes.min_s=5", "clips.crf=40"])
    assert fingerprint(copy) != fingerprint(made[0])
    curate([folder, folder / "list.csv"], copy, scheduler)
    assert fingerprint(copy) == fingerprint(made[0])


def test_another_run_elsewhere_gives_the_same_bytes(made, folder, scheduler, tmp_path):
    curate([folder, folder / "list.csv"], tmp_path / "again", scheduler)
    first, second = fingerprint(made[0]), fingerprint(tmp_path / "again")
    assert {n: h for n, h in first.items() if n.startswith(("shards/", "clips/"))}
    assert first == second


@pytest.mark.filterwarnings("ignore:unclosed file", "ignore:Exception ignored in")  # webdataset leaves tars open
def test_shards_are_read_by_webdataset_a_loader_and_tar(made):
    output, _ = made
    tars = sorted(str(p) for p in output.glob("shards/*/*.tar"))
    expected = {key for shard in rows(output, shards.SHARDS) for key in shard["keys"]}
    stock = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert {sample["__key__"] for sample in stock} == expected
    assert all({"mp4", "json", "txt"} <= set(sample) for sample in stock)
    loader = DataLoader(webdataset.WebDataset(tars, shardshuffle=False), batch_size=None, num_workers=1)
    assert {sample["__key__"] for sample in loader} == expected
    for path in tars:
        with tarfile.open(path) as tar:
            assert all(m.isfile() and "/" not in m.name and m.mtime == 0 for m in tar)
    for sample in stock:
        told = json.loads(sample["json"])
        shots = [node for node in told["captions"] if node["level"] == "shot"]
        assert sample["txt"].decode() == "\n".join(node["text"] for node in shots)
        assert {node["level"] for node in told["captions"]} == {"clip", "shot", "event", "story"}
        for level in ("clip", "shot"):
            nodes = [node for node in told["captions"] if node["level"] == level]
            assert nodes[0]["start_s"] <= 0
            assert nodes[-1]["end_s"] >= told["duration_s"] - 1e-6
            assert all(a["end_s"] == b["start_s"] for a, b in pairwise(nodes))
        (output / "probe.mp4").write_bytes(sample["mp4"])
        with av.open(str(output / "probe.mp4")) as box:
            assert sum(1 for _ in box.decode(video=0)) == told["frames"]
        (output / "probe.mp4").unlink()


def test_splits_share_no_source_and_the_index_is_right(folder, made, scheduler, tmp_path):
    output = shutil.copytree(made[0], tmp_path / "dataset")
    curate([folder, folder / "list.csv"], output, scheduler, [*EVERYTHING, "pack.val_share=0.5", "pack.target_mb=0.5"])
    by_split: dict[str, set[str]] = {}
    for sample in rows(output, shards.SAMPLES):
        by_split.setdefault(sample["split"], set()).add(sample["source_id"])
    assert len(by_split) == 2
    assert not set.intersection(*by_split.values())
    for split in by_split:
        index = json.loads((output / f"shards/{split}/index.json").read_text())
        assert index["__kind__"] == "wids-shard-index-v1"
        listed = {entry["url"]: entry["filesize"] for entry in index["shardlist"]}
        assert listed == {p.name: p.stat().st_size for p in output.glob(f"shards/{split}/*.tar")}


def test_parts_carry_their_provenance(made):
    output, _ = made
    part = next((output / "tables/motion").iterdir())
    told = json.loads(pq.read_schema(part).metadata[PROVENANCE])
    assert told["recipe"] == "engine"
    assert told["stage"] == "motion"
    assert told["parameters"]["static_below_w_s"] == 0.004
    assert {"longtake", "av", "pyarrow"} <= set(told["versions"])
    assert pq.read_schema(part).field("mean_w_s").metadata[b"doc"].decode().endswith("frame widths per second")


def test_what_could_not_be_measured_is_null_with_its_reason(folder, scheduler, tmp_path):
    """A take shorter than the flow's gap has no motion, and is not taken for a still one."""
    overrides = [
        "takes.min_s=0.1",
        "flow.fps=1",
        "screen.rules={}",
        "select.rules={moving: {column: motion.mean_w_s, min: 0.001}}",
    ]
    short = tmp_path / "short.mp4"
    films.film(short, films.steady(5), base=Fraction(1, 25), size=(64, 48), picture=films.flash(set()))
    curate([short], tmp_path / "out", scheduler, overrides)
    (score,) = rows(tmp_path / "out", motion.TABLE)
    assert score["mean_w_s"] is None
    assert score["unmeasured"] == "no two samples lie inside the clip"
    (verdict,) = rows(tmp_path / "out", decisions.TABLE)
    assert verdict["reasons"] == ["moving: motion.mean_w_s could not be measured"]


FIRST, AFTER = 4124, 5400
"""Frames of the film, the first a key frame: where it has the most cuts in the least time."""


@pytest.fixture(scope="module")
def film(footage, tmp_path_factory):
    """A part of the film, as it was encoded, up to a key frame."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with av.open(str(footage / "footage/edited/film.mp4")) as whole, av.open(str(path), "w") as part:
        stream = whole.streams.video[0]
        copied = part.add_stream_from_template(stream)
        frame = round(1 / (stream.average_rate * stream.time_base))
        for packet in whole.demux(stream):
            if packet.is_keyframe and packet.pts >= AFTER * frame:
                break
            if packet.pts is not None and packet.pts >= FIRST * frame:
                packet.pts, packet.dts, packet.stream = packet.pts - FIRST * frame, packet.dts - FIRST * frame, copied
                part.mux(packet)
    return path


OF_THE_FILM = ["screen.rules={}", "select.rules={none: {column: clips.duration_s, min: 1000}}"]


@pytest.fixture(scope="module")
def whole(film, scheduler, tmp_path_factory):
    """(dataset, summary) of the film, decoded in one piece."""
    output = tmp_path_factory.mktemp("whole") / "dataset"
    return output, curate([film], output, scheduler, OF_THE_FILM)


@pytest.mark.slow
def test_long_sources_are_decoded_in_intervals_to_the_same_rows(film, whole, scheduler, tmp_path):
    """The film in intervals of 10 s gives byte for byte the tables of the film in one piece."""
    output, summary = whole
    split = curate([film], tmp_path / "split", scheduler, [*OF_THE_FILM, "limits.interval_s=10"])
    assert summary.failed == split.failed == 0
    first, second = fingerprint(output), fingerprint(tmp_path / "split")
    assert {n for n in first if first[n] != second.get(n)} <= {"recipe.yaml"}
    assert not list((tmp_path / "split").glob("intervals/**/*.parquet"))


@pytest.mark.slow
def test_clips_of_the_film_lie_inside_its_true_takes(footage, whole):
    """No clip of the film crosses a hard cut of its truth."""
    output, _ = whole
    truth = json.loads((footage / "footage/edited/film.json").read_text())
    found = rows(output, clips.TABLE)
    end = max(clip["end_frame"] for clip in found)
    hard = [t["start"] - FIRST for t in truth["transitions"] if t["kind"] == "cut" and FIRST < t["start"] < FIRST + end]
    assert len(hard) > 5
    for clip in found:
        assert not [cut for cut in hard if clip["start_frame"] < cut < clip["end_frame"]]
