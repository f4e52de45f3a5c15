"""What runs left behind is remembered, and two of them can be held against each other."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from engine import curate
from excerpts import excerpt
from hypothesis import given
from hypothesis import strategies as st
from verbs import command

from curate import history
from curate.dataset import Dataset
from curate.profile import POINTS, distance


@pytest.fixture(scope="module")
def grown(footage, scheduler, tmp_path_factory):
    """A dataset after three runs: of one source, of two, and with nothing to do."""
    folder = tmp_path_factory.mktemp("grown")
    (folder / "in").mkdir()
    for name in ("yoga.mp4", "pancake.mkv"):
        excerpt(footage / "footage/takes" / name, folder / "in" / name, 3)
        curate([folder / "in"], folder / "dataset", scheduler)
    curate([], folder / "dataset", scheduler)
    return folder / "dataset"


def test_every_run_is_remembered(grown):
    rows = json.loads(command("history", grown, "--json").stdout)
    assert [row["state"] for row in rows] == ["done"] * 3
    assert [sum(row["states"]["source"].values()) for row in rows] == [1, 2, 2]
    assert rows[1]["tasks"] > 0
    assert rows[2]["tasks"] == 0
    # One that changed nothing has the profile of the one before: a year of quiet nights takes no room.
    assert rows[2]["profile"] == rows[1]["id"]
    assert "done" in command("history", grown).stdout


def test_two_runs_are_held_against_each_other(grown):
    same = json.loads(command("compare", f"{grown}@-2", grown, "--json").stdout)
    assert all(row["distance"] in (0, None) for row in same["scores"])
    found = json.loads(command("compare", f"{grown}@-3", grown, "--json").stdout)
    takes = next(step for step in found["funnel"] if step["step"] == "takes")
    assert takes["count"][0] < takes["count"][1]
    by_column = {row["column"]: row for row in found["scores"]}
    assert by_column["motion.mean_w_s"]["distance"] > 0
    assert found["captions"]["levels"]["shot"][1]["captions"] > found["captions"]["levels"]["shot"][0]["captions"]
    shown = command("compare", f"{grown}@-3", grown)
    assert found["scores"][0]["column"].split(".")[0] in shown.stdout


def test_drift_fails_a_job_where_there_is_enough_to_say_so(grown, tmp_path):
    assert command("compare", f"{grown}@-3", grown, "--fail-over", "0.05").returncode == 0  # a take or two say nothing
    for number, shift in enumerate((0.0, 1.0)):
        dataset = Dataset(str(tmp_path / str(number)))
        shutil.copytree(grown, tmp_path / str(number))
        (run,) = [record for record in history.records(dataset) if record.profile == record.id][-1:]
        left = history.profile(dataset, run.id)
        left["scores"]["motion.mean_w_s"] |= {"clips": 500, "quantiles": list(np.linspace(shift, shift + 2, POINTS))}
        dataset.write(f"runs/{run.id}.profile.json", json.dumps(left).encode())
    names = [f"{tmp_path / str(number)}@-1" for number in (0, 1)]
    drifted = command("compare", *names, "--fail-over", "0.3")
    assert drifted.returncode == 1
    assert "drifted: motion.mean_w_s: distance 0.50" in drifted.stdout
    assert command("compare", *names, "--fail-over", "0.6").returncode == 0


def test_a_run_that_is_not_remembered_is_named(grown):
    refused = command("compare", f"{grown}@yesterday", grown)
    assert refused.returncode == 2
    assert "remembers no run 'yesterday'" in refused.stderr


def test_a_killed_run_is_told_by_its_record(footage, tmp_path):
    words = ["run", "score_only", "-i", str(footage / "footage/takes/yoga.mp4"), "-o", str(tmp_path / "dataset")]
    with subprocess.Popen([sys.executable, "-m", "curate.cli", *words], stderr=subprocess.DEVNULL) as run:
        while not list(tmp_path.glob("dataset/runs/[!.]*.json")):  # and not one that is being written
            time.sleep(0.1)
        (record,) = json.loads(command("history", tmp_path / "dataset", "--json").stdout or "[{}]")
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert record == {} or record["state"] == "running"
    (tmp_path / "dataset/recipe.yaml").touch()
    (record,) = json.loads(command("history", tmp_path / "dataset", "--json").stdout)
    assert record["state"] == "killed"


values = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=60)


@given(values, values)
def test_distance_is_kolmogorov_and_smirnov_s_up_to_the_grain_of_the_quantiles(a, b):
    grain = np.linspace(0, 1, POINTS)
    found = distance(list(np.quantile(a, grain)), list(np.quantile(b, grain)))
    grid = np.sort([*a, *b])
    true = np.abs(
        np.searchsorted(np.sort(a), grid, "right") / len(a) - np.searchsorted(np.sort(b), grid, "right") / len(b)
    ).max()
    assert abs(found - true) <= 2 / (POINTS - 1) + 1 / len(a) + 1 / len(b)
    assert distance(list(np.quantile(a, grain)), list(np.quantile(a, grain))) == 0
