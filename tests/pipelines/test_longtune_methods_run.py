"""The methods whose state or networks go beyond the generator's, in whole runs: stopped and gone on with."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipelines.longtune.checkpoint import find_checkpoint
from pipelines.longtune.model.far import FILE, FarWanTransformer3DModel
from pipelines.longtune.weights import load_generator
from tests.pipelines.longtune_ranks import train
from tests.pipelines.longtune_run import STEPS, method_config, save_generator, write_bars


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """Two takes of 5 s."""
    return write_bars(tmp_path_factory.mktemp("takes"), 2, 40, 8, 64, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_generator(tmp_path_factory.mktemp("generator"))


def losses(run: Path) -> list[tuple]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    done = [row for row in rows if row["stage"] == "transformer"]
    assert [row["step"] for row in done] == list(range(1, STEPS + 1))
    return [(row["loss"], row.get("loss_critic")) for row in done]


@pytest.mark.parametrize("name", ["tiny_recycling", "tiny_far", "tiny_streaming_dmd"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(name, shards, folder, tmp_path):
    through, stopped = tmp_path / "through", tmp_path / "stopped"
    train(method_config(name, folder), shards, through)
    shutil.copytree(through, stopped)  # what a kill after step 3 leaves
    shutil.rmtree(find_checkpoint(stopped))
    (stopped / "summary.json").unlink()
    train(method_config(name, folder), shards, stopped)
    assert losses(through) == losses(stopped)
    if name == "tiny_streaming_dmd":
        assert [loss is not None for loss, _ in losses(through)] == [True, False, True, False]
        assert all(critic is not None for _, critic in losses(through))
    checkpoints = [find_checkpoint(run) for run in (through, stopped)]
    ours, theirs = (load_file(path / "transformer" / "diffusion_pytorch_model.safetensors") for path in checkpoints)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    if name == "tiny_far":
        assert not any("far" in key for key in ours)
        assert (checkpoints[0] / FILE).is_file()
        assert isinstance(load_generator(checkpoints[0]).transformer, FarWanTransformer3DModel)
