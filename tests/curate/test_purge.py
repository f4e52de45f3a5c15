"""What is taken out is in no byte of the dataset, no run brings it back, and a killed purge can be completed."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from engine import curate, fingerprint, rows
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from searcher import occurrences
from verbs import command

from curate import purge, report, tombstones
from curate.books import read_recipe
from curate.dataset import Dataset
from curate.takedown import Takedown
from curate.tombstones import Tombstone, Tombstones, normal
from schemas import captions, clips, faces, hashes, ledger, media, shards, sources, stills

RECIPE = str(Path(__file__).with_name("purge.yaml"))
ONE, OTHER = "biden", "alex_lacamoire"
"""Seen and heard in turns in the film of the tests."""


def beginning(whole, path, seconds):
    """The first part of a film as it was encoded, up to a key frame."""
    with av.open(str(whole)) as film, av.open(str(path), "w") as part:
        streams = [s for s in film.streams if s.type in ("video", "audio")]
        copied = {s.index: part.add_stream_from_template(s) for s in streams}
        for packet in film.demux(streams):
            if packet.dts is None:
                continue
            if packet.stream.type == "video" and packet.is_keyframe and packet.pts * packet.time_base >= seconds:
                break
            packet.stream = copied[packet.stream.index]
            part.mux(packet)


@pytest.fixture(scope="module")
def films(footage, tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    beginning(footage / "footage/edited/dialogue.mp4", folder / "talk.mp4", 12)
    beginning(footage / "footage/takes/pancake.mkv", folder / "kitchen.mkv", 4)
    return folder


@pytest.fixture(scope="module")
def settings(footage):
    pytest.importorskip("dlib")
    return [f"people.cast={footage / 'footage/edited/dialogue.cast'}"]


@pytest.fixture(scope="module")
def made(films, settings, scheduler, tmp_path_factory):
    """A dataset of both films, with its report."""
    output = tmp_path_factory.mktemp("out") / "dataset"
    assert curate([films], output, scheduler, settings, RECIPE).failed == 0
    report.write(Dataset(str(output)))
    tombstones.bury(Dataset(str(output)), Tombstones(bytes(32)))
    return output


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "dataset", copy_function=shutil.copy2)


def say(*words, status=0):
    done = command(*words)
    assert done.returncode == status, done.stderr + done.stdout
    return done.stdout if not status else done.stderr


def taken_out(dataset, scheduler, *words):
    return json.loads(say("purge", dataset, *words, "--scheduler", scheduler, "--json"))


def sound(dataset):
    """Whether everything that shows a dataset can still show it, and its shards are those of its tables."""
    state = json.loads(say("status", dataset, "--json"))
    assert state["complete"]
    assert not state["to_do"]
    for index in dataset.glob("shards/*/index.json"):
        for line in json.loads(index.read_text())["shardlist"]:
            shard = index.with_name(line["url"])
            assert (line["filesize"], line["sha256"]) == (
                shard.stat().st_size,
                fingerprint(dataset)[_of(dataset, shard)],
            )
            with tarfile.open(shard) as tar:
                keys = list(dict.fromkeys(name.split(".")[0] for name in tar.getnames()))
            (row,) = (r for r in rows(dataset, shards.SHARDS) if r["shard"] == _of(dataset, shard))
            mine = sorted((r["position"], r["clip_id"]) for r in rows(dataset, shards.SAMPLES))
            assert keys == row["keys"] == [clip for _, clip in mine]
            assert [position for position, _ in mine] == list(range(len(keys)))
    kept = {r["clip_id"] for r in rows(dataset, ledger.TABLE) if r["kind"] == "clip" and r["state"] == "kept"}
    assert kept == {r["clip_id"] for r in rows(dataset, media.TABLE)}
    return state


def _of(dataset, path):
    return str(path.relative_to(dataset))


def pictures(dataset, source_id, start_s=0.0, end_s=1e9):
    """Bytes of what a source looked like in a span: stills, thumbnails, portraits, embeddings."""
    found = [
        r["jpeg"] for r in rows(dataset, stills.TABLE) if r["source_id"] == source_id and start_s <= r["t_s"] < end_s
    ]
    found += [
        r["thumbnail"]
        for r in rows(dataset, hashes.TABLE)
        if r["source_id"] == source_id and start_s <= r["t_s"] < end_s
    ]
    for row in rows(dataset, faces.TRACKS):
        if row["source_id"] == source_id and start_s <= row["start_s"] < end_s:
            found += [row["portrait"], np.array(row["embedding"] or [0.1], np.float32).tobytes()]
    return found


def test_a_source_is_gone_from_every_byte_and_stays_out(copy, films, settings, scheduler, tmp_path):
    (source,) = (r for r in rows(copy, sources.SOURCES) if r["path"].endswith("kitchen.mkv"))
    source_id = source["source_id"]
    others = {r["text"] for r in rows(copy, captions.TABLE) if r["source_id"] != source_id}
    said = {r["text"] for r in rows(copy, captions.TABLE) if r["source_id"] == source_id} - others
    stays = {"text": sorted(t for t in others if t)[0]}
    for name, told in (("a", {"text": next(iter(said))}), ("b", stays)):
        (copy / "replies/aa").mkdir(parents=True, exist_ok=True)
        (copy / f"replies/aa/{name}.json").write_text(json.dumps({"reply": {"text": json.dumps(told)}}))
    everything = [source_id[:16], "kitchen", *said, *pictures(copy, source_id)]
    assert len(everything) > 30
    assert len(occurrences(copy, *everything)) > 50
    before = fingerprint(copy)
    dry = json.loads(say("purge", copy, "--source", films / "kitchen.mkv", "--dry-run", "--json"))
    assert fingerprint(copy) == before
    told = taken_out(copy, scheduler, "--source", films / "kitchen.mkv")
    assert {k: told[k] for k in dry if k != "dry_run"} == {k: v for k, v in dry.items() if k != "dry_run"}
    assert told["sources"] == [source_id]
    assert occurrences(copy, *everything) == []
    assert (copy / "report/index.html").exists()
    assert (copy / "replies/aa/b.json").exists()

    state = sound(copy)
    assert state["states"]["source"] == {"kept": 1, "rejected": 0, "failed": 0, "purged": 1}
    assert [s["count"] for s in state["funnel"] if s["name"] in ("sources", "sources not purged")] == [2, 1]
    assert curate([films], copy, scheduler, settings, RECIPE).tasks == 0
    elsewhere = tmp_path / "same film.mkv"
    shutil.copy(films / "kitchen.mkv", elsewhere)
    again = curate([elsewhere, films], copy, scheduler, settings, RECIPE)
    assert again.states["source"] == {"kept": 1, "rejected": 0, "failed": 0, "purged": 1}
    assert occurrences(copy, *everything, "same film") == []
    assert curate([elsewhere, films], copy, scheduler, settings, RECIPE, retry_failed=True).failed == 0
    clip = rows(copy, media.TABLE)[0]["clip_id"]
    say("explain", copy, clip)
    say("select", copy, "--set", "select.rules.long.unmeasured=accept")
    say("report", copy)
    say("search", copy, "a scene")
    say("export", copy, "prompts", "-o", tmp_path / "exported")
    assert occurrences(copy, *everything) == []
    for again in (films / "kitchen.mkv", source_id):
        assert not json.loads(say("purge", copy, "--source", again, "--dry-run", "--json"))["sources"]


@pytest.mark.slow
def test_a_clip_and_whoever_is_seen_go_and_a_new_source_does_not_bring_them_back(
    copy, footage, films, settings, scheduler, tmp_path
):
    first, shows, _, also = sorted(
        (r for r in rows(copy, clips.TABLE) if r["duration_s"] > 2 and r["frames"] != 150), key=lambda r: r["start_s"]
    )[:4]
    words = [OTHER, OTHER.replace("_", " "), *(c["clip_id"][16:] for c in (first, shows, also))]
    gone = [p for c in (first, shows, also) for p in pictures(copy, c["source_id"], c["start_s"], c["end_s"])]
    assert len(occurrences(copy, *words, *gone)) > 50
    told = taken_out(copy, scheduler, "--clip", first["clip_id"], "--character", "Alex Lacamoire")
    assert set(told["clips"]) == {c["clip_id"] for c in (first, shows, also)}
    assert occurrences(copy, *words, *gone) == []
    state = sound(copy)
    assert state["states"]["clip"] == {"kept": 2, "rejected": 3, "failed": 0}
    out = [r for r in rows(copy, ledger.TABLE) if r["stage"] == "purge"]
    assert sorted(r["reason"] for r in out) == ["purged", "purged person", "purged person"]
    assert "was purged" in say("explain", copy, first["clip_id"], status=2)
    assert curate([films], copy, scheduler, settings, RECIPE).tasks == 0

    beginning(footage / "footage/edited/dialogue.mp4", tmp_path / "new.mp4", 5)
    more = curate([films, tmp_path / "new.mp4"], copy, scheduler, settings, RECIPE)
    assert more.failed == 0
    mine = [r for r in rows(copy, ledger.TABLE) if r["path"].endswith("new.mp4") and r["kind"] == "clip"]
    assert [(r["state"], r["reason"]) for r in mine if r["stage"] == "purge"] == [("rejected", "purged person")]
    assert [r["state"] for r in mine if r["stage"] != "purge"] == ["kept"]
    assert occurrences(copy, OTHER, OTHER.replace("_", " ")) == []
    assert curate([films, tmp_path / "new.mp4"], copy, scheduler, settings, RECIPE).tasks == 0


@pytest.mark.slow
def test_with_keep_clips_the_takes_stay_and_nobody_is_named(copy, films, settings, scheduler):
    before = {r["clip_id"]: r["sha256"] for r in rows(copy, media.TABLE)}
    mine = {t for r in rows(copy, faces.PEOPLE) if r["name"] == ONE for t in r["tracks"]}
    faces_of = [r for r in rows(copy, faces.TRACKS) if r["track_id"] in mine]
    gone = [ONE, *(r["portrait"] for r in faces_of)]
    vectors = [np.array(r["embedding"], np.float32).tobytes() for r in faces_of if r["embedding"]]
    assert vectors
    told = taken_out(copy, scheduler, "--character", ONE, "--keep-clips")
    assert not told["clips"]
    assert occurrences(copy, *gone) == []
    sound(copy)
    assert {r["clip_id"]: r["sha256"] for r in rows(copy, media.TABLE)} == before
    left = [r for r in rows(copy, faces.TRACKS) if r["track_id"] in mine]
    assert all(r["embedding"] is None and not r["portrait"] and r["unmeasured"] for r in left)
    assert OTHER in {r["name"] for r in rows(copy, faces.PEOPLE)}
    assert curate([films], copy, scheduler, settings, RECIPE).tasks == 0
    # Other stills are other face tracks, in which the cast's photo is recognised again.
    curate([films], copy, scheduler, [*settings, "face_tracks.looks=4"], RECIPE)
    assert occurrences(copy, ONE) == []
    assert {r["name"] for r in rows(copy, faces.PEOPLE)} == {OTHER}
    assert sum(r["embedding"] is None for r in rows(copy, faces.TRACKS)) >= len(left)


def test_embeddings_and_portraits_are_in_no_shard(made):
    tracks = rows(made, faces.TRACKS)
    private = [r["portrait"] for r in tracks]
    for row in tracks:
        if row["embedding"]:
            private += [np.array(row["embedding"], kind).tobytes() for kind in (np.float32, np.float64)]
            private.append(", ".join(map(str, row["embedding"][:3])))
    assert len(private) > 10
    assert occurrences(made / "shards", *private) == []


class Killed(BaseException):
    """Stands for kill -9: nothing catches it, and no code of ours runs after it."""


def test_killed_after_any_write_it_is_completed_by_the_same_purge(made, tmp_path, monkeypatch):
    source = next(r for r in rows(made, sources.SOURCES) if r["path"].endswith("kitchen.mkv"))
    left = {"done": 10**9}
    for name in ("write", "remove"):
        plain = getattr(Dataset, name)

        def counting(self, *given, plain=plain):
            plain(self, *given)
            left["done"] -= 1
            if not left["done"]:
                raise Killed

        monkeypatch.setattr(Dataset, name, counting)

    def attempt(place):
        dataset = Dataset(str(place))
        with dataset.locked():
            dataset.sweep()
            stones = tombstones.load(dataset)
            takedown = Takedown(dataset, stones)
            takedown.source(source["source_id"])
            stones = stones.with_new(takedown.finish().stones)
            tombstones.bury(dataset, stones)
            purge.settle(dataset, read_recipe(dataset), stones)

    whole = shutil.copytree(made, tmp_path / "whole")
    attempt(whole)
    steps = 10**9 - left["done"]
    assert steps > 40
    expected = fingerprint(whole)
    for step in [1, 2, 3, *range(4, steps, 7), steps]:
        place = shutil.copytree(made, tmp_path / f"{step}")
        left["done"] = step
        with pytest.raises(Killed):
            attempt(place)
        left["done"] = 10**9
        attempt(place)
        assert fingerprint(place) == expected, f"killed after write {step} of {steps}"
        shutil.rmtree(place)


def test_an_object_store_holds_nothing_of_it_either(made, tmp_path):
    """On a filesystem of fsspec's other than the local one, which has objects and no locks."""
    files = {str(p.relative_to(made)): p.read_bytes() for p in made.rglob("*") if p.is_file()}
    remote = Dataset("memory://purged-dataset")
    for name, data in files.items():
        remote.write(name, data)
    takedown = Takedown(remote, tombstones.load(remote))
    takedown.source(next(r["source_id"] for r in rows(made, sources.SOURCES) if r["path"].endswith("kitchen.mkv")))
    stones = tombstones.load(remote).with_new(takedown.finish().stones)
    with remote.locked():
        tombstones.bury(remote, stones)
        purge.settle(remote, read_recipe(remote), stones)
    for name in remote.tree(""):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(remote.read(name))
    assert len(list(tmp_path.rglob("*.parquet"))) > 20
    assert occurrences(tmp_path, *takedown.wanted.sources, "kitchen") == []
    remote.fs.rm(remote.root, recursive=True)


def written(dataset):
    """Every file with the time it was written, but for those that go while they are looked for."""
    found = set()
    for folder, _, files in os.walk(dataset):
        for name in set(files) - {".lock"}:
            with suppress(FileNotFoundError):
                found.add((folder, name, os.stat(os.path.join(folder, name)).st_mtime_ns))
    return found


@pytest.mark.slow
def test_a_killed_process_is_completed(copy, films, scheduler):
    words = [sys.executable, "-m", "curate.cli", "purge", copy, "--source", films / "kitchen.mkv"]
    before = written(copy)
    for least in (1, 20):
        process = subprocess.Popen(
            [*words, "--scheduler", scheduler], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while len(written(copy) ^ before) < least:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    taken_out(copy, scheduler, "--source", films / "kitchen.mkv")
    assert occurrences(copy, "kitchen") == []
    assert sound(copy)["states"]["source"]["purged"] == 1


def test_a_dataset_that_is_being_written_is_left_alone_and_wrong_use_is_told(made, films):
    before = fingerprint(made)
    with Dataset(str(made)).locked():
        assert "another run is writing" in say("purge", made, "--source", films / "talk.mp4", status=1)
    for words, wrong in (
        (["--source", "nothing.mp4"], "is no source of"),
        (["--clip", "abc"], "is no clip of"),
        (["--character", "Nobody At All"], "is nobody in"),
        (["--source", films, "--keep-clips"], "--keep-clips goes with --character"),
        ([], "say what is to go"),
    ):
        assert wrong in say("purge", made, *words, status=2)
    assert fingerprint(made) == before


def test_other_makers_tars_keep_their_other_members(tmp_path):
    dataset, stones = Dataset(str(tmp_path)), Tombstones(bytes(32))
    stones = stones.with_new([Tombstone("source", stones.owner("a" * 32))])
    (tmp_path / "latents").mkdir()
    with tarfile.open(tmp_path / "latents/000000.tar", "w") as tar:
        for key in ("a" * 16 + "-0-1", "b" * 16 + "-0-1"):
            member = tarfile.TarInfo(f"{key}.npy")
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
    index = {"shardlist": [{"url": "000000.tar", "nsamples": 2, "filesize": 1, "sha256": "x"}]}
    (tmp_path / "latents/index.json").write_text(json.dumps(index))
    (tmp_path / f"latents/{'a' * 16}-0-1.npy").write_text("x")
    purge.settle(dataset, read_recipe_of_nothing(), stones)
    with tarfile.open(tmp_path / "latents/000000.tar") as tar:
        assert tar.getnames() == [f"{'b' * 16}-0-1.npy"]
    (line,) = json.loads((tmp_path / "latents/index.json").read_text())["shardlist"]
    assert (line["nsamples"], line["filesize"]) == (1, (tmp_path / "latents/000000.tar").stat().st_size)
    assert occurrences(tmp_path, "a" * 16) == []


def read_recipe_of_nothing():
    from curate.recipe import parse

    return parse("{name: nothing, stages: {signals: {}}}", "nothing")


def test_corrections_and_names_in_a_recipe_go_with_what_they_speak_of():
    from curate.recipe import parse

    text = (
        "{name: r, stages: {signals: {}, cuts: {}, takes: {}, stills: {}, face_tracks: {}, people: {apart: "
        "[[aaaaaaaaaaaaaaaa-0-1-000, x], [y, z]]}, faces: {}, speech: {}, characters: {corrections: "
        "{film.mp4: {merge: [[Ann Lee, b], [c, d]], rename: {unknown 1: ann_lee, unknown 2: Bo}}, gone.mp4: {}}}}}"
    )
    stones = Tombstones(bytes(32))
    stones = stones.with_new(
        [
            Tombstone("source", stones.owner("a" * 32), (stones.mark("gone.mp4"),)),
            Tombstone("person", stones.mark("ann lee"), words=2),
        ]
    )
    left = purge.without(parse(text, "r"), stones).dump()["stages"]
    assert left["people"]["apart"] == [["y", "z"]]
    assert list(left["characters"]["corrections"]) == ["film.mp4"]
    told = left["characters"]["corrections"]["film.mp4"]
    assert (told["merge"], told["rename"]) == ([["c", "d"]], {"unknown 2": "Bo"})


names = st.lists(st.sampled_from(["ann", "lee", "Bo", "ann_lee", "x"]), min_size=1, max_size=2).map(" ".join)


@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(names, st.lists(st.sampled_from(["Ann", "LEE", "bo", "x", "_", "-", ". ", "'s ", '{"a": "', '"}']), max_size=12))
def test_no_text_says_a_purged_name_and_the_rest_is_as_it_was(name, parts):
    stones = Tombstones(bytes(32))
    stones = stones.with_new([Tombstone("person", stones.mark(normal(name)), words=len(normal(name).split()))])
    text = " ".join(parts)
    told = stones.spoken(text)
    assert f" {normal(name)} " not in f" {normal(told)} "
    assert stones.spoken(told) == told
    if f" {normal(name)} " not in f" {normal(text)} ":
        assert told == text
    assert stones.person(name.upper()) is not None


def test_a_tombstone_says_nothing_of_what_it_is_for(copy):
    (source,) = (r for r in rows(copy, sources.SOURCES) if r["path"].endswith("kitchen.mkv"))
    dataset, stones = Dataset(str(copy)), tombstones.load(Dataset(str(copy)))
    takedown = Takedown(dataset, stones)
    takedown.source(source["source_id"])
    takedown.character(OTHER, keep_clips=True)
    tombstones.bury(dataset, stones.with_new(takedown.finish().stones))
    assert occurrences(copy / "purged", source["source_id"][:16], "kitchen", "alex", "lacamoire") == []
