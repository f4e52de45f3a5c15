"""Motion on real pictures moved by a known amount."""

from fractions import Fraction
from itertools import islice

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.analyze import Interval, analyze
from curate.dataset import to_arrow
from curate.media.probe import probe
from curate.media.video import Decode, Timing
from schemas import clips, motion
from stages.motion.camera import Camera, places_of
from stages.motion.clip import Motion
from stages.motion.flow import Flow
from stages.motion.seconds import MotionSeconds

SECONDS = 6
SIZE = (480, 270)


class Still:
    """Stands in for a decoded frame of given luma."""

    def __init__(self, luma, t_s):
        self.t_s, self._luma = t_s, luma

    def luma(self, long_side):
        return self._luma


@pytest.fixture(scope="module")
def picture(footage):
    """A real frame, larger than the window that is moved over it."""
    path = str(footage / "footage/takes/vl2_103.mp4")
    frame = next(iter(Decode(path, Timing.of(probe(path)))))
    return cv2.resize(frame.luma(10_000), (960, 540), interpolation=cv2.INTER_CUBIC)


def through(picture, way, fps, seconds=SECONDS):
    """Frames of a camera that looks at a picture; `way` turns seconds into (x, y, zoom, roll) of the camera, shifts in
    frame widths from the middle, y downwards. Beyond the picture's edge it is mirrored."""
    width, height = SIZE
    for n in range(round(seconds * fps)):
        x, y, zoom, roll = way(n / fps)
        c, s = np.exp(zoom) * np.cos(roll), np.exp(zoom) * np.sin(roll)
        px, py = 480 + x * width, 270 + y * width
        matrix = np.array([[c, -s, width / 2 - c * px + s * py], [s, c, height / 2 - s * px - c * py]])
        how = {"flags": cv2.INTER_CUBIC, "borderMode": cv2.BORDER_REFLECT_101}
        yield Still(cv2.warpAffine(picture, matrix, SIZE, **how), n / fps)


def moved(picture, shift_w_s=(0.0, 0.0), zoom_s=0.0, roll_s=0.0, fps=2.0, seconds=SECONDS):
    """A camera that goes one way at one speed."""
    x, y = shift_w_s
    middle = seconds / 2
    return through(
        picture,
        lambda t: (x * (t - middle), y * (t - middle), zoom_s * (t - middle), roll_s * (t - middle)),
        fps,
        seconds,
    )


def inputs_of(series, end_s=float(SECONDS), start_s=0.0, vectors=None):
    clip = {f.name: 0 for f in clips.TABLE.schema if not f.nullable} | {"detectors": "", "still": []} | {
        "clip_id": "c", "source_id": "s", "start_s": start_s, "end_s": end_s, "long_enough": True,
    }  # fmt: skip
    found = {"clips": to_arrow(clips.TABLE, [clip]), "motion_series": series}
    return found | ({"vector_series": vectors} if vectors is not None else {})


def series_of(frames):
    run = Flow().start({})
    seen = ((n, f, run.update(f)) for n, f in enumerate(frames))
    rows = [{"source_id": "s", "frame": n, "pts": n, "t_s": f.t_s, **row} for n, f, row in seen if row is not None]
    return to_arrow(motion.SERIES, rows)


def score(frames, **parameters):
    (found,) = Motion(**parameters).run(inputs_of(series_of(frames)), None)
    to_arrow(motion.TABLE, [found])
    return found


def film(frames, out, codec="libx264", fps=24, **options):
    """Encode frames' luma."""
    with av.open(str(out), "w") as box:
        stream = box.add_stream(codec, rate=fps, options=options)
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for n, frame in enumerate(frames):
            luma = frame.luma(0)
            if not n:
                stream.height, stream.width = luma.shape
            coded = av.VideoFrame.from_ndarray(luma, format="gray")
            coded.pts, coded.time_base = n, Fraction(1, fps)
            box.mux(stream.encode(coded))
        box.mux(stream.encode(None))
    return out


def decoded(path, **source):
    """The series of a film by table name."""
    row = {"source_id": "s", "path": str(path), **probe(str(path)), **source}
    header, tables = analyze(str(path), row, {"flow": {}, "vectors": {}}, Interval().dump(), lambda _: None)
    assert not header["failures"]
    return tables


@pytest.mark.parametrize("speed", [0.03, 0.06, 0.1])
@pytest.mark.parametrize(
    ("direction", "name"), [((1, 0), "pan right"), ((-1, 0), "pan left"), ((0, 1), "tilt down"), ((0, -1), "tilt up")]
)
def test_a_pan_has_its_direction_and_speed(picture, direction, name, speed):
    found = score(moved(picture, np.array(direction) * speed))
    assert found["camera"] == name
    assert found["camera_w_s"] == pytest.approx(speed, rel=0.1)
    assert found["mean_w_s"] == pytest.approx(speed, rel=0.15)
    assert found["subject_w_s"] < 0.2 * speed


@pytest.mark.parametrize(("zoom", "name"), [(0.08, "zoom in"), (-0.08, "zoom out")])
def test_a_zoom_is_named(picture, zoom, name):
    assert score(moved(picture, zoom_s=zoom))["camera"] == name


def test_a_tripod_is_static(picture):
    found = score(moved(picture))
    assert found["camera"] == "static"
    assert found["static_share"] == 1
    assert found["mean_w_s"] < 0.001


def test_the_same_pictures_at_another_size_move_alike(picture):
    small = [
        Still(cv2.resize(f.luma(0), (240, 135), interpolation=cv2.INTER_AREA), f.t_s) for f in moved(picture, (0.06, 0))
    ]
    assert score(small)["camera_w_s"] == pytest.approx(0.06, rel=0.1)


def test_pairs_across_a_clips_edges_do_not_count():
    series = [
        {
            "source_id": "s",
            "frame": n,
            "pts": n,
            "t_s": n / 2,
            "previous_s": n / 2 - 0.5 if n else None,
            "flow_mean_w_s": 9.0,
        }
        | ({"flow_mean_w_s": 0.5} if n / 2 - 0.5 >= 1.0 and n / 2 < 2.0 else {})
        for n in range(8)
    ]
    (found,) = Motion().run(inputs_of(to_arrow(motion.SERIES, series), start_s=1.0, end_s=2.0), None)
    assert (found["pairs"], found["mean_w_s"]) == (1, 0.5)
    assert found["unmeasured"].startswith("no camera could be fitted")


@pytest.mark.parametrize("fps", [10, 24, 60])
@pytest.mark.parametrize("speed", [0.04, 0.5])
def test_speed_does_not_depend_on_the_frame_rate(picture, fps, speed):
    found = score(moved(picture, (speed, 0), fps=fps, seconds=3))
    assert found["camera"] == "pan right"
    assert found["camera_w_s"] == pytest.approx(speed, rel=0.03)
    assert found["mean_w_s"] == pytest.approx(speed, rel=0.1)
    assert found["jitter_w_s"] < 0.15 * speed
    assert found["flow_px_520x960_2fps"] == pytest.approx(found["mean_w_s"] * 480, rel=0.05)


def test_a_roll_is_named_and_has_its_speed(picture):
    found = score(moved(picture, roll_s=-0.3, fps=12))
    assert found["camera"] == "roll"
    assert found["segments"][0]["speed"] == pytest.approx(0.3, rel=0.05)


def shaken(t, speed=0.1):
    rates = 2 * np.pi * np.array([1.3, 2.1, 2.9])
    swing = speed / np.sqrt(3) / rates
    return (swing * np.sin(rates * t + [0.3, 1.9, 4.0])).sum(), (swing * np.sin(rates * t + [1.6, 4.8, 2.7])).sum()


def test_a_shaken_camera_is_told_from_one_that_moves(picture):
    found = score(through(picture, lambda t: (*shaken(t), 0, 0), 24))
    assert found["camera"] == "handheld shake"
    assert found["jitter_w_s"] == pytest.approx(0.1, rel=0.15)
    both = score(through(picture, lambda t: (shaken(t)[0] + 0.2 * (t - 3), shaken(t)[1], 0, 0), 24))
    assert both["camera"] == "pan right"
    assert both["jitter_w_s"] == pytest.approx(0.1, rel=0.15)


def test_one_movement_after_another_has_its_times(picture):
    def way(t):
        return 0.1 * min(t, 3) - 0.1, 0, 0.12 * max(0, t - 6), 0

    clip = inputs_of(series_of(through(picture, way, 12, seconds=9)), end_s=9.0)
    (found,) = Motion().run(clip, None)
    assert [s["kind"] for s in found["segments"]] == ["pan right", "static", "zoom in"]
    assert [s["start_s"] for s in found["segments"]] == pytest.approx([0, 3, 6], abs=0.51)
    assert [s["speed"] for s in found["segments"]] == pytest.approx([0.1, 0, 0.12], rel=0.05)
    assert found["camera"] == "moving"
    assert found["dead_s"] == pytest.approx(3, abs=0.51)
    assert found["dead_start_s"] == pytest.approx(3, abs=0.51)
    rows = list(MotionSeconds().run(clip, None))
    to_arrow(motion.SECONDS, rows)
    assert [row["second"] for row in rows] == list(range(9))
    assert [row["flow_w_s"] < 0.004 for row in rows] == [False] * 3 + [True] * 3 + [False] * 3
    assert rows[1]["camera_w_s"] == pytest.approx(0.1, rel=0.05)


def test_a_camera_that_follows_its_subject_tracks(picture, footage):
    path = str(footage / "footage/takes/chaplin.mp4")
    subject = cv2.resize(next(iter(Decode(path, Timing.of(probe(path))))).luma(10_000), SIZE)
    mask = cv2.ellipse(np.zeros(SIZE[::-1], np.uint8), (240, 145), (45, 85), 0, 0, 360, 255, -1)
    followed = [Still(np.where(mask, subject, f.luma(0)), f.t_s) for f in moved(picture, (0.1, 0), fps=12)]
    found = score(followed)
    assert found["camera"] == "tracking"
    assert found["camera_w_s"] == pytest.approx(0.1, rel=0.05)


def test_a_picture_of_one_colour_has_no_camera():
    found = score(Still(np.full(SIZE[::-1], 90, np.uint8), n / 2) for n in range(12))
    assert found["mean_w_s"] == 0
    assert found.get("camera") is None
    assert "too little texture" in found["unmeasured"]


def test_a_clip_shorter_than_the_gap_is_unmeasured_and_every_second_has_a_row(picture):
    series = series_of(moved(picture, (0.1, 0)))
    (found,) = Motion().run(inputs_of(series, start_s=1.1, end_s=1.4), None)
    assert (found["pairs"], found["unmeasured"]) == (0, "no two samples lie inside the clip")
    (row,) = MotionSeconds().run(inputs_of(series, start_s=1.1, end_s=1.4), None)
    assert row["unmeasured"] == "no two samples of the clip lie around this second"
    assert (row["start_s"], row["end_s"]) == (1.1, 1.4)


@given(
    st.lists(
        st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)), min_size=1
    )
)
def test_steps_of_a_camera_add_up_to_where_it_took_each_place(steps):
    xs, ys = np.broadcast_arrays(*places_of(6, 8))
    whole, at = Camera(), xs + 1j * ys.astype(float)
    for zoom, roll, x, y in steps:
        step = Camera(complex(np.exp(zoom + 1j * roll)), complex(x, y))
        whole, at = whole.then(step), step.turn * at + step.shift
    scale = max(1.0, float(np.abs(at).max()))
    x, y = whole.moves(xs, ys)
    assert np.abs(xs + x + 1j * (ys + y) - at).max() < 1e-3 * scale


def test_the_series_is_the_same_for_every_encoder(footage, tmp_path):
    path = str(footage / "footage/takes/vl2_demo1.mp4")
    frames = [Still(f.luma(640).copy(), f.t_s) for f in islice(Decode(path, Timing.of(probe(path))), 100)]
    encoders = {
        "x264.mp4": ("libx264", {"crf": "23", "preset": "veryfast"}),
        "mpeg4.avi": ("mpeg4", {"q": "4", "qmin": "3", "qmax": "5"}),
        "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "b": "1500k"}),
    }
    found = {}
    for name, (codec, options) in encoders.items():
        made = film(frames, tmp_path / name, codec, 25, **options)
        tables = decoded(made)
        rows = list(MotionSeconds().run(inputs_of(tables["motion_series"], 4.0, 0.0, tables["vector_series"]), None))
        found[name] = {c: np.array([row[c] for row in rows], float) for c in ("flow_w_s", "camera_w_s", "vectors_w_s")}
    for name in encoders:
        # Within a tenth, or what a still picture's noise amounts to.
        assert found[name]["flow_w_s"] == pytest.approx(found["x264.mp4"]["flow_w_s"], rel=0.1, abs=0.002)
        assert found[name]["camera_w_s"] == pytest.approx(found["x264.mp4"]["camera_w_s"], rel=0.1, abs=0.003)
    assert np.isnan(found["vp9.webm"]["vectors_w_s"]).all()
    # Encoders choose their vectors; over the take as a whole they come to much the same.
    by_codec = [found[name]["vectors_w_s"].mean() for name in ("mpeg4.avi", "x264.mp4")]
    assert by_codec[0] == pytest.approx(by_codec[1], rel=0.5)


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"bf": "0", "refs": "1"}),
        ("libx264", {"bf": "3", "refs": "4", "b-pyramid": "normal"}),
        ("mpeg4", {"bf": "2"}),
        ("mpeg2video", {"bf": "2", "b": "3M"}),
    ],
)
def test_vectors_have_the_cameras_speed_whatever_they_refer_to(picture, tmp_path, codec, options):
    tables = decoded(film(moved(picture, (0.2, 0), fps=24, seconds=3), tmp_path / "pan.mkv", codec, **options))
    rows = [row for row in tables["vector_series"].to_pylist() if row["unmeasured"] is None]
    assert len(rows) >= 4
    assert np.median([row["vectors_x_w_s"] for row in rows]) == pytest.approx(-0.2, rel=0.15)
    assert np.median([row["vectors_mean_w_s"] for row in rows]) == pytest.approx(0.2, rel=0.2)


def test_vectors_of_a_turned_source_point_as_it_is_seen(picture, tmp_path):
    made = film(moved(picture, (0.2, 0), fps=24, seconds=2), tmp_path / "pan.mkv")
    rows = [row for row in decoded(made, rotation=90)["vector_series"].to_pylist() if row["unmeasured"] is None]
    # The picture moves left as coded; turned clockwise it moves up, and is as wide as it was high.
    assert np.median([row["vectors_y_w_s"] for row in rows]) == pytest.approx(-0.2 * SIZE[0] / SIZE[1], rel=0.15)
    assert abs(np.median([row["vectors_x_w_s"] for row in rows])) < 0.03


@pytest.mark.parametrize(
    ("codec", "options", "why"),
    [
        ("mjpeg", {}, "the decoder of mjpeg exports no motion vectors"),
        ("libx264", {"g": "1"}, "no P picture since the sample before"),
    ],
)
def test_without_vectors_there_is_a_reason(picture, tmp_path, codec, options, why):
    tables = decoded(film(moved(picture, fps=12, seconds=2), tmp_path / "still.mkv", codec, 12, **options))
    assert {row["unmeasured"] for row in tables["vector_series"].to_pylist()[1:]} == {why}
    (found,) = Motion().run(inputs_of(tables["motion_series"], 2.0, 0.0, tables["vector_series"]), None)
    assert found.get("vectors_w_s") is None
    assert found["unmeasured"] == f"vectors: {why}"
    assert found["camera"] == "static"
