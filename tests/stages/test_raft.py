"""RAFT on real clips, with the real networks at random weights: what it is asked for, and what may be wrong."""

import hashlib
import math

import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import optical_flow

from curate.dataset import to_arrow
from curate.media.probe import probe
from curate.models import WeightsError
from curate.workspace import open_workspace
from schemas import clips, motion
from stages.motion.raft import Raft


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with both networks' weights, drawn at random."""
    folder = tmp_path_factory.mktemp("raft")
    torch.manual_seed(1)
    for name in ("raft_small", "raft_large"):
        save_file(getattr(optical_flow, name)(weights=None).state_dict(), folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="module")
def inputs(footage):
    """Two takes of a source, one too short for two samples, and one that is not long enough."""
    path = str(footage / "footage/takes/panda_s1.mp4")
    source = {"source_id": "s", "path": path, **probe(path)}
    base = {f.name: 0 for f in clips.TABLE.schema if not f.nullable} | {"detectors": "", "still": [], "source_id": "s"}
    spans = {"a": (0.9, 1.6, True), "b": (3.1, 3.4, True), "c": (4.0, 6.0, False)}
    ticks = source["time_base_den"] / source["time_base_num"]
    rows = [
        base
        | {"clip_id": name, "start_s": start, "end_s": end, "long_enough": long}
        | {"start_pts": source["start_pts"] + round(start * ticks), "end_pts": source["start_pts"] + round(end * ticks)}
        for name, (start, end, long) in spans.items()
    ]
    return {"clips": to_arrow(clips.TABLE, rows), "sources": pa.Table.from_pylist([source])}


def rows(stage, inputs, folder):
    with open_workspace(str(folder)) as work:
        found = list(stage.run(inputs, work))
    to_arrow(motion.RAFT, found)
    return {row["clip_id"]: row for row in found}


@pytest.mark.slow
@pytest.mark.parametrize("network", ["small", "large"])
def test_clips_are_measured_at_lvd2ms_size(weights, inputs, tmp_path, network):
    found = rows(Raft(network=network, weights=str(weights), updates=1), inputs, tmp_path)
    assert found["a"]["pairs"] == len(found["a"]["series_w_s"]) == 1
    assert found["a"]["backend"].startswith(f"raft_{network} (")
    assert 0 < found["a"]["mean_w_s"] < 100
    # Half a second at 960 px: near to 480 px a width, less what the height is squeezed.
    assert 0.9 * 480 < found["a"]["flow_px_520x960_2fps"] / found["a"]["mean_w_s"] < 1.1 * 480
    assert found["b"]["unmeasured"] == "no two samples lie inside the clip"
    assert found["c"]["unmeasured"] == "not looked at: too short"


def test_what_was_screened_out_is_not_looked_at(weights, inputs, tmp_path):
    screening = pa.table({"clip_id": ["a", "b", "c"], "kept": [False, True, False]})
    found = rows(Raft(network="small", weights=str(weights)), inputs | {"screening": screening}, tmp_path)
    assert {name: row["unmeasured"] for name, row in found.items()} == {
        "a": "not looked at: screened out",
        "b": "no two samples lie inside the clip",
        "c": "not looked at: screened out",
    }


def test_without_weights_the_score_is_null(inputs, tmp_path):
    found = rows(Raft(), inputs, tmp_path)
    assert found["a"]["unmeasured"].startswith("no weights")
    assert all(row.get("mean_w_s") is None and row.get("backend") is None for row in found.values())


def test_flow_that_is_not_finite_is_null_with_its_reason(weights, inputs, tmp_path):
    network = optical_flow.raft_small(weights=None)
    state = network.state_dict()
    name = next(name for name in state if name.startswith("update_block.flow_head") and name.endswith("bias"))
    state[name] = torch.full_like(state[name], math.nan)
    save_file(state, tmp_path / "broken.safetensors")
    found = rows(Raft(network="small", weights=str(tmp_path / "broken.safetensors"), updates=1), inputs, tmp_path)
    assert found["a"]["unmeasured"] == "the network's flow is not finite in 1 of 1 pairs"
    assert found["a"]["series_w_s"] == [None]
    assert found["a"].get("mean_w_s") is None


def test_weights_that_do_not_fit_are_refused(weights, inputs, tmp_path):
    small = weights / "raft_small.safetensors"
    with pytest.raises(WeightsError, match="are of another model"):
        rows(Raft(network="large", weights=str(small)), inputs, tmp_path)
    with pytest.raises(WeightsError, match="another file, or damaged"):
        rows(Raft(network="small", weights=str(weights), weights_sha256="0" * 64), inputs, tmp_path)
    with pytest.raises(WeightsError, match=r"no raft_large\.safetensors"):
        rows(Raft(network="large", weights=str(tmp_path)), inputs, tmp_path)
    digest = hashlib.sha256(small.read_bytes()).hexdigest()
    stage = Raft(network="small", weights=str(small), weights_sha256=digest, updates=1)
    assert rows(stage, inputs | {"clips": inputs["clips"].slice(1, 1)}, tmp_path)["b"]["pairs"] == 0
