"""Aesthetic and technical scores: right arithmetic with weights of the real classes, null without, errors for wrong."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import mobilenet_v2

from curate.models import WeightsError
from stages.aesthetics import Aesthetics
from stages.technical import Technical
from tests.stages.looking import clip, inputs, run

GREY = [np.full((90, 160, 3), level, np.uint8) for level in (30, 90, 200)]


def embeddings(vectors, unmeasured=None):
    row = {"clip_id": "c", "model": "open_clip:0", "vectors": vectors, "unmeasured": unmeasured}
    numbers = pa.list_(pa.list_(pa.float32()))
    kinds = [("clip_id", pa.string()), ("model", pa.string()), ("vectors", numbers), ("unmeasured", pa.string())]
    return {"embeddings": pa.Table.from_pylist([row], pa.schema(kinds))}


def head(folder, width, weight=1.0):
    path = folder / "head.safetensors"
    save_file({"weight": torch.full((1, width), weight), "bias": torch.tensor([5.0])}, path)
    return path


def test_the_head_is_applied_to_each_still(tmp_path):
    path = head(tmp_path, 4)
    tables = inputs(GREY) | embeddings([[1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]])
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    (row,) = run(Aesthetics(weights=str(path), weights_sha256=right), tables)
    assert (row["looks"], row["score"], row["score_min"]) == (2, 6.5, 6.0)
    assert row["model"] == "laion_aesthetic on open_clip:0"


def test_without_weights_or_vectors_there_is_no_score(tmp_path):
    (row,) = run(Aesthetics(), inputs(GREY) | embeddings([[1.0, 0]]))
    assert (row["score"], row["model"]) == (None, None)
    assert "set aesthetics.weights" in row["unmeasured"]
    (row,) = run(Aesthetics(weights=str(head(tmp_path, 4))), inputs(GREY) | embeddings(None, "no weights of a network"))
    assert (row["score"], row["unmeasured"]) == (None, "no weights of a network")


def test_nan_is_no_score(tmp_path):
    path = str(head(tmp_path, 2))
    (row,) = run(Aesthetics(weights=path), inputs(GREY) | embeddings([[float("nan"), 0]]))
    assert row["score"] is None
    assert "NaN" in row["unmeasured"]
    (row,) = run(Aesthetics(weights=path), inputs(GREY) | embeddings([[float("nan"), 0], [1, 0]]))
    assert (row["looks"], row["score"]) == (1, 6.0)
    assert "for 1 of the stills" in row["unmeasured"]


def test_a_head_that_does_not_fit_is_an_error(tmp_path):
    tables = inputs(GREY) | embeddings([[1.0, 0]])
    with pytest.raises(WeightsError, match="belong together"):
        run(Aesthetics(weights=str(head(tmp_path, 768))), tables)
    with pytest.raises(WeightsError, match="another file, or damaged"):
        run(Aesthetics(weights=str(head(tmp_path, 2)), weights_sha256="0" * 64), tables)
    save_file({"other": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="of another model"):
        run(Aesthetics(weights=str(tmp_path / "other.safetensors")), tables)


@pytest.fixture(scope="module")
def nima(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("nima") / "nima.safetensors"
    save_file(mobilenet_v2(num_classes=10).state_dict(), path)
    return path


def test_technical_scores_are_means_of_votes(nima):
    (row,) = run(Technical(weights=str(nima), stills=2), inputs(GREY))
    assert row["looks"] == 2
    assert 1 <= row["score_min"] <= row["score"] <= 10
    assert 0 < row["spread"] < 4.5


def test_technical_without_weights_stills_or_numbers_is_null(nima, tmp_path):
    (row,) = run(Technical(), inputs(GREY))
    assert row["score"] is None
    assert "set technical.weights" in row["unmeasured"]
    (row,) = run(Technical(weights=str(nima)), inputs(GREY, [clip(50, 70)]))
    assert "no still" in row["unmeasured"]
    broken = mobilenet_v2(num_classes=10).state_dict()
    broken["classifier.1.bias"][:] = float("nan")
    save_file(broken, tmp_path / "nan.safetensors")
    (row,) = run(Technical(weights=str(tmp_path / "nan.safetensors")), inputs(GREY))
    assert row["score"] is None
    assert "NaN" in row["unmeasured"]


def test_technical_weights_of_another_network_are_an_error(nima, tmp_path):
    save_file(mobilenet_v2(num_classes=3).state_dict(), tmp_path / "three.safetensors")
    with pytest.raises(WeightsError, match="of another model"):
        run(Technical(weights=str(tmp_path / "three.safetensors")), inputs(GREY))
    with pytest.raises(WeightsError, match="another file, or damaged"):
        run(Technical(weights=str(nima), weights_sha256="0" * 64), inputs(GREY))
