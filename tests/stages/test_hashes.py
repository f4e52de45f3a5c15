"""Perceptual hashes of real pictures: the same after what encoders and uploaders do, others for other pictures."""

import cv2
import numpy as np
import pytest

from curate import analyze
from curate.media.probe import probe
from curate.media.video import Decode, Timing
from schemas import hashes
from stages.hashes import MIRROR, Hashes, hashed, thumbnail_of

TAKES = ("panda_s1.mp4", "pancake.mkv", "jesse_dance.mp4", "vtest.avi")


@pytest.fixture(scope="module")
def lumas(footage):
    """A picture a take, luma at 256 px."""
    paths = [str(footage / "footage/takes" / name) for name in TAKES]
    return [next(iter(Decode(path, Timing.of(probe(path))))).luma(256) for path in paths]


def bits(one, other):
    """How many bits the hashes of two pictures differ in."""
    first, second = (hashed(thumbnail_of(luma).reshape(1, -1)) for luma in (one, other))
    return int(np.bitwise_count(first ^ second)[0])


def test_a_hash_survives_encoding_size_light_and_bars(lumas):
    for luma in lumas:
        height, width = luma.shape
        coded = cv2.imdecode(cv2.imencode(".jpg", luma, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], cv2.IMREAD_GRAYSCALE)
        assert bits(luma, coded) <= 4
        assert bits(luma, cv2.resize(luma, (width * 2 // 3, height // 2), interpolation=cv2.INTER_AREA)) <= 4
        assert bits(luma, cv2.convertScaleAbs(luma, alpha=0.8, beta=30)) <= 6
        assert bits(luma, cv2.copyMakeBorder(luma, 40, 40, 0, 0, cv2.BORDER_CONSTANT, value=(5,))) <= 4
        assert bits(luma, cv2.copyMakeBorder(luma, 0, 0, 60, 60, cv2.BORDER_CONSTANT, value=(5,))) <= 4


def test_other_pictures_have_other_hashes(lumas):
    for n, one in enumerate(lumas):
        assert all(bits(one, other) > 14 for other in lumas[n + 1 :])


def test_the_mirrored_picture_has_the_mirrored_hash(lumas):
    for luma in lumas:
        mirrored = hashed(thumbnail_of(luma[:, ::-1].copy()).reshape(1, -1))[0]
        assert np.bitwise_count(mirrored ^ hashed(thumbnail_of(luma).reshape(1, -1))[0] ^ MIRROR) <= 4


class Shown:
    def __init__(self, luma, t_s):
        self._luma, self.t_s = luma, t_s

    def luma(self, long_side):
        return self._luma


@pytest.mark.parametrize("level", [0, 20, 128, 255])
@pytest.mark.parametrize("shape", [(144, 256), (3, 5), (1, 1)])
def test_a_picture_of_one_colour_has_no_hash(level, shape):
    row = Hashes().start({}).update(Shown(np.full(shape, level, np.uint8), 0.0))
    assert (row["hash"], row["contrast"]) == (None, 0)
    assert set(row["thumbnail"]) == {level}


def test_the_probe_samples_the_shared_decode_four_times_a_second_in_any_intervals(footage):
    path = str(footage / "footage/takes/panda_s1.mp4")
    source = {"source_id": "s", "path": path} | probe(path)
    _, tables = analyze.analyze(path, source, {"hashes": {}}, analyze.Interval().dump(), lambda _: None)
    rows = tables[hashes.TABLE.name]
    assert len(rows) == np.ceil(source["duration_s"] * 4)
    assert rows["hash"].null_count == 0
    assert np.diff(rows["t_s"].to_numpy()) == pytest.approx(0.25, abs=0.05)
    parts = [
        analyze.analyze(path, source, {"hashes": {}}, part.dump(), lambda _: None)[1][hashes.TABLE.name]
        for part in analyze.intervals(source, 4)
    ]
    joined = [row for part in parts for row in part.drop_columns("frame").to_pylist()]
    assert joined == rows.drop_columns("frame").to_pylist()
