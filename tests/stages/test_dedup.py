"""Dedup on real footage, its copies, and what must not be taken for copies."""

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dataset import to_arrow
from curate.media.probe import probe
from curate.media.video import Decode, Timing
from schemas import clips, duplicates, embeddings, hashes, quality, sources
from stages.balance import Balance
from stages.dedup.keep import Copy, kept
from stages.dedup.stage import Dedup
from stages.hashes import FLAT, hashed, thumbnail_of

FPS = 4


class Work:
    def __init__(self, scratch):
        self.scratch = scratch


@pytest.fixture(scope="module")
def takes(footage):
    """Every frame of some takes, luma at about 256 px, and their frame rates."""
    found = {}
    for name in ("panda_s1.mp4", "jesse_dance.mp4", "pancake.mkv", "vtest.avi"):
        path = str(footage / "footage/takes" / name)
        facts = probe(path)
        found[name.split(".")[0]] = [frame.luma(256) for frame in Decode(path, Timing.of(facts))], facts["fps"]
    return found


def sampled(take, first_s=0.0, end_s=None, speed=1.0, change=lambda luma: luma):
    """Thumbnails of a take's span as the probe would have them, played at a speed and changed."""
    frames, fps = take
    end_s = end_s or len(frames) / fps
    times = np.arange(first_s, end_s - 0.01, speed / FPS)
    return np.stack([thumbnail_of(change(frames[min(len(frames) - 1, round(t * fps))])) for t in times])


def tables(pictures, order=None, **more):
    """The stage's inputs: a clip and source for each array of thumbnails (n, 16, 16), by name."""
    order = order or list(pictures)
    zeros = {f.name: 0 for f in clips.TABLE.schema if not f.nullable} | {"detectors": "", "still": []}
    rows, files, series = [], [], []
    for name in order:
        thumbnails = pictures[name]
        end_s = len(thumbnails) / FPS
        span = {"start_s": 0.0, "end_s": end_s, "duration_s": end_s, "long_enough": True}
        rows.append(zeros | {"clip_id": name, "source_id": f"s-{name}"} | span)
        facts = {"path": "", "paths": [], "user": "{}", "width": 640, "height": 360, "bytes": 1000, "duration_s": end_s}
        files.append(facts | {"source_id": f"s-{name}"} | more.get(name, {}))
        flat = thumbnails.reshape(len(thumbnails), -1).std(1) if len(thumbnails) else []
        for n, (picture, contrast) in enumerate(zip(thumbnails, flat, strict=True)):
            found = int(hashed(picture.reshape(1, -1))[0]) if contrast >= FLAT else None
            where = {"source_id": f"s-{name}", "frame": n, "pts": n, "t_s": n / FPS}
            series.append(where | {"hash": found, "thumbnail": picture.tobytes(), "contrast": float(contrast)})
    return {
        "clips": ds.dataset(to_arrow(clips.TABLE, rows)),
        "sources": ds.dataset(to_arrow(sources.SOURCES, files)),
        "hash_series": ds.dataset(to_arrow(hashes.TABLE, series)),
    }


@pytest.fixture
def run(tmp_path):
    def found(inputs, stage=None):
        table = pa.concat_tables((stage or Dedup()).run(inputs, Work(tmp_path)))
        assert table.schema.equals((stage or Dedup()).writes.schema)
        return {row["clip_id"]: row for row in table.to_pylist()}

    return found


def crop(luma):
    height, width = luma.shape
    return luma[height // 20 : -height // 20, width // 20 : -width // 20]


def rough(luma):
    return cv2.imdecode(cv2.imencode(".jpg", luma, [cv2.IMWRITE_JPEG_QUALITY, 25])[1], cv2.IMREAD_GRAYSCALE)


def test_copies_are_found_and_say_where_and_how(takes, run):
    panda = takes["panda_s1"]
    found = run(
        tables(
            {
                "original": sampled(panda),
                "rough": sampled(panda, change=rough),
                "mirrored": sampled(panda, change=lambda luma: luma[:, ::-1].copy()),
                "cropped": sampled(panda, change=crop),
                "faster": sampled(panda, speed=1.2),
                "part": sampled(panda, 3.1, 8.3),
                **{name: sampled(takes[name]) for name in ("jesse_dance", "pancake", "vtest")},
            },
            original={"width": 1280, "height": 720},
        )
    )
    copies = {name: row for name, row in found.items() if row["copy_of"]}
    assert set(copies) == {"rough", "mirrored", "cropped", "faster", "part"}
    assert {row["copy_of"] for row in copies.values()} == {"original"}
    assert found["original"]["copies"] == 5
    assert copies["rough"]["kind"] == copies["mirrored"]["kind"] == copies["cropped"]["kind"] == "same footage"
    assert [name for name, row in copies.items() if row["mirrored"]] == ["mirrored"]
    assert copies["faster"]["speed"] == pytest.approx(1.2, abs=0.02)
    assert (copies["part"]["kind"], copies["part"]["speed"]) == ("sub-span", pytest.approx(1, abs=0.02))
    assert copies["part"]["start_s"] == pytest.approx(3.1, abs=0.15)
    assert copies["part"]["end_s"] == pytest.approx(8.3, abs=0.3)
    assert copies["rough"]["similarity"] > 0.98


def test_hours_of_one_camera_are_not_copies_of_each_other(takes, run):
    hours = {f"hour {n}": sampled(takes["vtest"], n * 12.0, n * 12.0 + 12) for n in range(6)}
    assert all(row["unique"] for row in run(tables(hours)).values())


def test_a_still_is_a_copy_of_the_same_still_alone(takes, run):
    still = {f"{name} {n}": np.repeat(sampled(takes[name])[:1], 30 + n, 0) for name in takes for n in range(2)}
    moving = {name: sampled(take) for name, take in takes.items()}
    found = run(tables(still | moving))
    assert {name: row["copy_of"] for name, row in found.items() if row["copy_of"]} == {
        f"{name} 0": f"{name} 1" for name in takes
    }


def test_clips_of_one_colour_or_without_a_sample_are_copies_of_none(takes, run):
    grey = np.full((40, 16, 16), 90, np.uint8)
    rows = {"grey": grey, "grey too": grey.copy(), "none": grey[:0], "one": sampled(takes["pancake"])[:1]}
    found = run(tables(rows | {"pancake": sampled(takes["pancake"])}))
    assert [found[name]["unmeasured"] for name in rows] == [
        "of one colour, so that it has no hash", "of one colour, so that it has no hash",
        "too short for two hashes", "too short for two hashes",
    ]  # fmt: skip
    assert {found[name]["unique"] for name in rows} == {None}
    assert found["pancake"]["unique"]


def test_the_better_copy_is_kept_and_the_whole_before_a_better_part(takes, run):
    panda = takes["panda_s1"]
    clips_ = {"a": sampled(panda), "b": sampled(panda, change=rough), "part": sampled(panda, 2, 8)}
    inputs = tables(clips_, b={"width": 1280, "height": 720}, part={"width": 3840, "height": 2160})
    found = run(inputs)
    assert {name: row["copy_of"] for name, row in found.items()} == {"a": "b", "b": None, "part": "b"}
    zeros = {f.name: 0 for f in quality.TABLE.schema if not f.nullable}
    scores = [zeros | {"clip_id": n, "source_id": "", "border_share": s} for n, s in (("a", 0.0), ("b", 0.9))]
    inputs["quality"] = ds.dataset(to_arrow(quality.TABLE, scores))
    assert {name: row["copy_of"] for name, row in run(inputs).items()} == {"a": None, "b": "a", "part": "a"}


def test_only_what_screening_keeps_is_compared(takes, run):
    inputs = tables({name: sampled(takes["pancake"]) for name in ("a", "b", "c")})
    inputs["screening"] = ds.dataset(pa.table({"clip_id": ["a", "b", "c"], "kept": [False, True, True]}))
    found = run(inputs)
    assert (found["a"]["unique"], found["a"]["unmeasured"]) == (None, "not looked at: screening turned the clip down")
    assert (found["b"]["unique"], found["c"]["copy_of"]) == (True, "b")


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(["panda", "panda rough", "panda part", "dance", "dance mirrored", "walkers", "grey"]))
def test_the_order_of_the_rows_changes_nothing(takes, tmp_path_factory, order):
    panda, dance = takes["panda_s1"], takes["jesse_dance"]
    pictures = {
        "panda": sampled(panda),
        "panda rough": sampled(panda, change=rough),
        "panda part": sampled(panda, 1, 7),
        "dance": sampled(dance),
        "dance mirrored": sampled(dance, change=lambda luma: luma[:, ::-1].copy()),
        "walkers": sampled(takes["vtest"], 0, 10),
        "grey": np.full((9, 16, 16), 7, np.uint8),
    }
    first, again = (
        pa.concat_tables(Dedup().run(tables(pictures, names), Work(tmp_path_factory.mktemp("scratch"))))
        for names in (list(pictures), order)
    )
    assert first.equals(again)


@given(st.data())
def test_kept_clips_and_copies_part_the_clips(data):
    count = data.draw(st.integers(1, 12))
    ranks = data.draw(st.permutations(range(count)))
    ends = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda pair: pair[0] != pair[1])
    copies = [Copy(a, b, "same footage", 1.0) for a, b in data.draw(st.sets(ends))]
    found = kept(ranks, copies)
    assert all(copy.copy == clip and copy.of not in found for clip, copy in found.items())
    # Of two kept clips neither is a copy of the other, unless both hold each other in a ring of parts and wholes.
    held = {(copy.copy, copy.of) for copy in copies}
    for a, b in held:
        if a not in found and b not in found:
            assert (b, a) not in held
    assert found == kept(ranks, list(reversed(copies)))


def with_vectors(inputs, vectors):
    rows = [
        {"clip_id": name, "source_id": "", "model": model, "vector": vector, "vectors": [vector] if vector else None}
        for name, (model, vector) in vectors.items()
    ]
    return inputs | {"embeddings": ds.dataset(to_arrow(embeddings.TABLE, rows))}


def test_near_meaning_is_found_among_vectors_of_one_network(takes, run):
    grey = np.full((40, 16, 16), 90, np.uint8)
    there = {
        "a": ("x", [1.0, 0.0, 0.0]), "b": ("x", [0.999, 0.03, 0.0]), "c": ("x", [0.0, 1.0, 0.0]),
        "d": ("y", [1.0, 0.0, 0.0]), "e": ("x", [float("nan"), 1.0, 0.0]), "f": ("x", None), "g": ("y", [1.0, 0.0]),
        "copy of b": ("x", [0.9, 0.3, 0.0]),
    }  # fmt: skip
    panda = takes["panda_s1"]
    pictures = dict.fromkeys(there, grey) | {"b": sampled(panda), "copy of b": sampled(panda, change=rough)}
    inputs = with_vectors(tables(pictures, a={"width": 1920, "height": 1080}), there)
    found = run(inputs)
    assert {name: row["copy_of"] for name, row in found.items() if row["copy_of"]} == {"b": "a", "copy of b": "a"}
    assert found["b"]["kind"] == "near meaning"
    assert found["b"]["similarity"] == pytest.approx(0.9995, abs=1e-3)
    assert [found[name]["unique"] for name in "acdefg"] == [True, True, True, None, None, True]
    assert found["a"]["copies"] == 2
    only = run(inputs, Dedup(near_meaning=None))
    assert {name: row["copy_of"] for name, row in only.items() if row["copy_of"]} == {"copy of b": "b"}


def test_a_cluster_has_a_quota_that_its_best_clips_fill(run):
    random = np.random.default_rng(1)
    centres = np.eye(3)[[0] * 40 + [1] * 8 + [2] * 2]
    vectors = {f"c{n:02}": ("x", (c + random.normal(0, 0.02, 3)).tolist()) for n, c in enumerate(centres)}
    vectors["none"] = ("x", None)
    grey = np.full((2, 16, 16), 9, np.uint8)
    sizes = {f"c{n:02}": {"width": 100 + n, "height": 100} for n in range(50)}
    inputs = with_vectors(tables(dict.fromkeys(vectors, grey), **sizes), vectors)
    found = run(inputs, Balance(clusters=3, most=10))
    clusters = [found[f"c{n:02}"]["cluster"] for n in range(50)]
    assert len(set(clusters[:40])) == len(set(clusters[40:48])) == len(set(clusters[48:])) == 1
    assert [n for n in range(40) if found[f"c{n:02}"]["within_quota"]] == list(range(30, 40))
    assert found["c39"]["rank"] == 0
    assert all(found[f"c{n:02}"]["within_quota"] for n in range(40, 50))
    assert (found["none"]["cluster"], found["none"]["unmeasured"]) == (None, "it has no embedding")
    doubles = [{"clip_id": "c39", "source_id": "", "unique": False}]
    told = run(inputs | {"duplicates": ds.dataset(to_arrow(duplicates.TABLE, doubles))}, Balance(clusters=3, most=10))
    assert told["c39"]["unmeasured"] == "a copy of another clip"
    assert told["c29"]["within_quota"]


def test_near_pairs_are_found_in_thousands_of_vectors(tmp_path):
    from stages.clusters import embedded, near_pairs

    random = np.random.default_rng(3)
    vectors = random.normal(size=(3000, 32)).astype(np.float32)
    vectors[2000:2200] = vectors[:200] + random.normal(0, 0.05, (200, 32))
    ids = [f"{n:04}" for n in range(3000)]
    rows = [{"clip_id": ids[n], "source_id": "", "model": "m", "vector": vectors[n].tolist()} for n in range(3000)]
    table = to_arrow(embeddings.TABLE, rows)
    wanted = {(n, 2000 + n) for n in range(200)}
    found = [
        {(a, b) for a, b, _ in near_pairs(embedded(pa.chunked_array([ids]), ds.dataset(given), tmp_path), 0.99)}
        for given in (table, table.take(pa.array(random.permutation(3000))))
    ]
    assert found[0] == found[1]
    assert found[0] <= wanted
    assert len(found[0]) >= 0.99 * len(wanted)
