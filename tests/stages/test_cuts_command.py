"""`curate cuts` as it is typed: on the real edited film, on films that are odd, and on files that are none."""

import importlib.util
import json
import os
import subprocess
import sys
from fractions import Fraction
from itertools import islice

import av
import cv2
import numpy as np
import pytest
from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

from curate.media.probe import probe
from curate.media.video import Decode, Timing
from stages.cuts.command import cuts as command
from tests.stages.verbs import one_child, typed


@pytest.fixture(scope="module", autouse=True)
def child():
    with one_child():
        yield


def found(*arguments):
    done = typed(command, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def by_name(path, name):
    """A function of a script of the footage folder, which is no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def hits(footage, truth, answer):
    """Recall by kind, wrong detections and flashes among them, as the scorer beside the films counts them."""
    spans = sorted(map(tuple, answer["boundaries"]))
    hit, used = by_name(footage / "bench/score_cuts.py", "match")(truth["transitions"], spans, 2)
    kinds = {t["kind"] for t in truth["transitions"]}
    recall = {
        k: np.mean([n in hit for n, t in enumerate(truth["transitions"]) if t["kind"] == k]).item() for k in kinds
    }
    wrong = [span for n, span in enumerate(spans) if n not in used]
    flashes = [span for span in wrong if any(span[0] - 1 <= f <= span[1] + 1 for f in truth["flashes"])]
    return recall, wrong, flashes


def crossed(truth, takes):
    """The takes of at least 10 s that hold a transition."""
    spans = [(t["start_frame"], t["end_frame"]) for t in takes if t["long_enough"]]
    return [
        (a, b)
        for a, b in spans
        for t in truth["transitions"]
        if (a < t["start"] < b if t["start"] == t["end"] else t["start"] < b and t["end"] > a)
    ]


def check_film(footage, film):
    truth = json.loads(film.with_suffix(".json").read_text())
    answer = found(film)
    assert (answer["frames"], round(answer["fps"])) == (truth["frames"], truth["fps"])
    recall, wrong, flashes = hits(footage, truth, answer)
    assert recall["cut"] == 1
    assert all(recall.get(kind, 1) >= least for kind, least in {"dissolve": 0.9, "fade": 0.9, "wipe": 0.8}.items())
    assert recall.get("jump", 1) >= 0.5  # of two to seven in a film
    assert flashes == []
    assert len(wrong) <= 2
    assert crossed(truth, answer["takes"]) == []
    return answer


@pytest.mark.slow
def test_the_edited_film(footage):
    answer = check_film(footage, footage / "footage/edited/film.mp4")
    kinds = {row["kind"] for row in answer["transitions"]}
    assert kinds == {"cut", "jump", "dissolve", "fade", "wipe"}
    assert "classifier" in answer["detectors"]
    assert all(0 <= row["probability"] <= 1 for row in answer["transitions"] + answer["doubts"])


FRESH = ("chaplin.mp4", "mm_struct.mp4", "vl2_103.mp4", "vl2_demo1.mp4", "yoga.mp4")


@pytest.mark.slow
def test_a_film_freshly_made(footage, tmp_path):
    (tmp_path / "takes").mkdir()
    for name in FRESH:
        (tmp_path / "takes" / name).symlink_to(footage / "footage/takes" / name)
    options = ["--seed", "977", "--fps", "30", "--shots", "8", "--size", "320x180"]
    maker = [sys.executable, footage / "bench/make_film.py", tmp_path / "takes", tmp_path / "new", *options]
    subprocess.run(maker, check=True)
    check_film(footage, tmp_path / "new.mp4")


def test_for_people(footage):
    line = [sys.executable, "-m", "curate.cli", "cuts", str(footage / "footage/edited/bikes.mp4")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0
    for word in ("transition", "take", "confidence", "cut", "250 frames", "looked: classifier"):
        assert word in done.stdout


@pytest.mark.parametrize("detector", ["content", "adaptive", "transnetv2"])
def test_other_detectors_are_there_to_choose(footage, detector):
    answer = found(footage / "footage/edited/bikes.mp4", "--detector", detector)
    assert detector in answer["detectors"]
    starts = [start for start, _ in answer["boundaries"]]
    assert 30 in starts
    assert 137 in starts


def test_shots_that_an_image_model_sees_as_one_are_stitched(footage, tmp_path):
    """A tiny random model of the real class in a local folder stands in for DINOv2's weights."""
    config = Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    Dinov2Model(config).save_pretrained(tmp_path / "model")
    BitImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(
        tmp_path / "model"
    )
    film = footage / "footage/edited/bikes.mp4"
    given = [film, "--set", f"cuts.embedding={tmp_path / 'model'}"]
    plain, none = found(film), found(*given, "--set", "cuts.stitch_distance=0")
    assert none["boundaries"] == plain["boundaries"]
    everything = found(*given, "--set", "cuts.stitch_distance=2")
    jumps = [row for row in everything["transitions"] if row["kind"] == "jump"]
    assert jumps == everything["transitions"]  # a jump cut keeps its scene, so nobody asks
    stitched = [row for row in everything["doubts"] if row["why"].startswith("embeddings of both sides")]
    cuts = [row for row in plain["transitions"] if row["kind"] != "jump"]
    assert [row["start_frame"] for row in stitched] == [row["start_frame"] for row in cuts]
    assert "stitched by" in everything["detectors"]
    refused = typed(command, film, "--set", "cuts.embedding=/nowhere")
    assert (refused.exit_code, "no image model" in refused.stderr) == (1, True), refused.output


def test_wrong_use(footage, tmp_path):
    take = footage / "footage/takes/chaplin.mp4"
    for arguments, word in [
        ([tmp_path / "nowhere.mp4"], "nowhere.mp4"),
        ([take, "--detector", "magic"], "magic"),
        ([take, "--set", "cuts.treshold=1"], "threshold"),
        ([footage / "footage/takes"], "give one file"),
    ]:
        done = typed(command, *arguments)
        assert (done.exit_code, word in done.stderr) == (2, True), done.output


def test_a_file_that_is_no_video(tmp_path):
    (tmp_path / "junk.mp4").write_bytes(os.urandom(50_000))
    line = [sys.executable, "-m", "curate.cli", "cuts", str(tmp_path / "junk.mp4"), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    assert "junk.mp4" in done.stderr
    assert (done.stdout, "Traceback" in done.stderr) == ("", False)


@pytest.fixture(scope="module")
def scenes(footage):
    """60 consecutive pictures of each of two real takes, 256 x 144 RGB."""
    pictures = []
    for name in ("yoga.mp4", "vl2_103.mp4"):
        path = str(footage / "footage/takes" / name)
        frames = islice(Decode(path, Timing.of(probe(path))), 60)
        pictures.append([cv2.resize(f.bgr[..., ::-1], (256, 144), interpolation=cv2.INTER_AREA) for f in frames])
    return pictures


def encode(path, pictures, fps=25, codec="libx264", pix_fmt="yuv420p", options=None, stamps=None, **context):
    """Write RGB(A) pictures; `stamps` are their times in milliseconds where the rate varies."""
    with av.open(str(path), "w") as box:
        stream = box.add_stream(codec, rate=fps, options=options or {"preset": "ultrafast"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000) if stamps else Fraction(1, fps)
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        for number, picture in enumerate(pictures):
            kind = "rgba" if picture.shape[2] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), kind)
            frame.pts, frame.time_base = (stamps[number] if stamps else number), stream.codec_context.time_base
            box.mux(stream.encode(frame))
        box.mux(stream.encode(None))
    return path


def cut_film(scenes, size=None, shots=60):
    pictures = [*scenes[0][:shots], *scenes[1][:shots]]
    return [cv2.resize(p, size, interpolation=cv2.INTER_CUBIC) for p in pictures] if size else pictures


ODD = {
    "slow": lambda d, s: encode(d / "a.mp4", cut_film(s), fps=5),
    "fast": lambda d, s: encode(d / "a.mp4", cut_film(s), fps=120),
    "portrait": lambda d, s: encode(d / "a.mp4", [np.rot90(p) for p in cut_film(s)]),
    "hdr": lambda d, s: encode(
        d / "a.mkv",
        cut_film(s),
        codec="libx265",
        pix_fmt="yuv420p10le",
        options={"preset": "ultrafast", "x265-params": "log-level=error"},
        color_primaries=9,
        color_trc=16,
        colorspace=9,
    ),
    "alpha": lambda d, s: encode(
        d / "a.mov",
        [np.dstack([p, np.full(p.shape[:2], 128, np.uint8)]) for p in cut_film(s)],
        codec="qtrle",
        pix_fmt="argb",
        options={},
    ),
    "large": lambda d, s: encode(
        d / "a.mp4", cut_film(s, (7680, 4320), 4), options={"preset": "ultrafast", "crf": "35"}
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_films_have_their_one_cut(scenes, tmp_path, kind):
    answer = found(ODD[kind](tmp_path, scenes))
    at = answer["frames"] // 2
    assert answer["boundaries"] == [[at, at]]


def test_a_variable_rate_has_its_cut_in_time_and_in_frames(scenes, tmp_path):
    stamps = np.cumsum([0, *np.tile([20, 20, 180, 40, 60], 24)[:119]]).tolist()
    answer = found(encode(tmp_path / "a.mkv", cut_film(scenes), stamps=stamps))
    (cut,) = answer["transitions"]
    assert cut["start_frame"] == 60
    assert cut["start_s"] == pytest.approx(stamps[60] / 1000, abs=0.002)


@pytest.mark.parametrize(
    ("name", "pictures"),
    [
        ("one", lambda s: s[0][:1]),
        ("three", lambda s: s[0][:3]),
        ("black", lambda s: [np.zeros((144, 256, 3), np.uint8)] * 100),
        ("noise", lambda s: list(np.random.default_rng(0).integers(0, 255, (100, 144, 256, 3), np.uint8))),
    ],
)
def test_films_with_nothing_to_cut(scenes, tmp_path, name, pictures):
    answer = found(encode(tmp_path / f"{name}.mp4", pictures(scenes)))
    assert answer["boundaries"] == []
    (take,) = answer["takes"]
    assert (take["start_frame"], take["end_frame"]) == (0, answer["frames"])
    assert [stretch["kind"] for stretch in take["still"]] == (["frozen"] if name == "black" else [])


def test_damage_in_the_middle_is_a_boundary_and_the_rest_is_used(footage, tmp_path):
    data = bytearray((footage / "footage/takes/dj2.mp4").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 60_000] = os.urandom(60_000)
    (tmp_path / "damaged.mp4").write_bytes(data)
    answer = found(tmp_path / "damaged.mp4")
    gaps = [row["start_frame"] for row in answer["transitions"] if row["kind"] == "gap"]
    assert gaps
    assert answer["decode_errors"] > 0
    assert min(gaps) > 100
    assert max(gaps) < answer["frames"] - 100
    assert answer["takes"][0]["start_frame"] == 0
    assert answer["takes"][-1]["end_frame"] == answer["frames"]


def woven(pictures):
    """Interlaced: each picture's odd lines are a moment later."""
    mixed = []
    for a, b in zip(pictures[::2], pictures[1::2], strict=False):
        picture = a.copy()
        picture[1::2] = b[1::2]
        mixed.append(picture)
    return mixed


def pulled_down(pictures):
    """3:2 pulldown: four film pictures become five, the third and fourth woven of two."""
    out = []
    for a, b, c, d in zip(*(pictures[n::4] for n in range(4)), strict=False):
        out += [a, b, *woven([b, c]), *woven([c, d]), d]
    return out


@pytest.fixture(scope="module")
def moving(footage):
    """The middle of 120 pictures of a real take, with its lines as they are: 640 x 360 RGB."""
    path = str(footage / "footage/takes/panda_s1.mp4")
    frames = islice(Decode(path, Timing.of(probe(path))), 120)
    return [f.upright().to_ndarray(format="rgb24")[180:540, 320:960] for f in frames]


@pytest.mark.parametrize(("scan", "how"), [("interlaced", woven), ("telecine", pulled_down), ("progressive", list)])
def test_scan_is_recognised(moving, tmp_path, scan, how):
    options = {"preset": "ultrafast", "crf": "20", "x264-params": "interlaced=1" if scan != "progressive" else ""}
    answer = found(encode(tmp_path / "a.mp4", how(moving), options=options))
    assert {take["scan"] for take in answer["takes"]} == {scan}


def test_a_long_take_with_flashes_keeps_its_certificate(footage, tmp_path):
    """Two minutes of one take, to and fro, with a camera's flash every ten seconds: many small doubts are no cut."""
    path = str(footage / "footage/takes/vl2_103.mp4")
    frames = [cv2.resize(f.bgr[..., ::-1], (256, 144)) for f in islice(Decode(path, Timing.of(probe(path))), 0, 200, 2)]
    pictures = [*frames, *frames[-2:0:-1]] * 16
    for at in range(125, len(pictures), 250):
        pictures[at] = (255 - (255 - pictures[at].astype(float)) * 0.2).astype(np.uint8)
    (take,) = found(encode(tmp_path / "a.mp4", pictures))["takes"]
    assert take["duration_s"] > 120
    assert take["doubt"] < 0.1
    assert take["confidence"] > 0.9
