"""A run killed with SIGKILL at random moments and repeated leaves what an undisturbed run leaves, byte for byte."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
from difference import difference
from engine import RECIPE, curate, rows
from excerpts import excerpt
from rich.console import Console
from typer.testing import CliRunner
from verbs import command

from curate.dataset import Dataset, DatasetBusyError
from curate.folder import TEMPORARY
from curate.place import Place
from curate.progress import Reporter
from curate.recipe import load
from curate.run import run as engine_run
from curate.schedule.command import schedule
from curate.schedule.store import Schedule, Store
from schemas import ledger

KILLS = 3
SOURCES = {"takes/pancake.mkv": 6, "takes/mm_struct.mp4": 4, "edited/hamilton.mp4": 2}
"""And how many seconds of each."""
SETTINGS = [
    "takes.min_s=3",
    "clips.preset=ultrafast",
    "pack.val_share=0.4",
    "limits.interval_s=10",
    "pack.target_mb=1",
]


def words(inputs, output):
    return ["run", RECIPE, "-i", inputs, "-o", output, *(part for setting in SETTINGS for part in ("--set", setting))]


def start(inputs, output):
    line = [sys.executable, "-m", "curate.cli", *map(str, words(inputs, output)), "--workers", "2"]
    return subprocess.Popen(line, start_new_session=True, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def folder(footage, tmp_path_factory):
    folder = tmp_path_factory.mktemp("footage")
    for name, seconds in SOURCES.items():
        excerpt(footage / "footage" / name, folder / name.split("/")[1], seconds)
    # Long enough to be decoded in intervals.
    excerpt(footage / "footage/edited/bikes.mp4", folder / "bikes.mp4", 7.4, slower=3)
    for name in ("corrupted.mp4", "transparent.webm", "unordered.mov", "video_90.mov"):
        shutil.copy(footage / "footage/broken" / name, folder)
    (folder / "text.mp4").write_text("this is no video")
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder, scheduler, tmp_path_factory):
    """The dataset of a run that nothing disturbed."""
    output = tmp_path_factory.mktemp("out") / "dataset"
    curate([folder], output, scheduler, SETTINGS)
    return output


class Leaving(Reporter):
    """Leaves at each step what a worker leaves that is killed while it writes."""

    def __init__(self, dataset):
        super().__init__(Console(stderr=True), quiet=True)
        self.dataset, self.left = dataset, []

    def step(self, *told):
        left = self.dataset / f"tables/inputs/{TEMPORARY}{len(self.left)}-part.parquet"
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_bytes(b"half")
        self.left.append(left)
        super().step(*told)


def test_what_killed_workers_left_half_written_is_gone_when_the_run_ends(folder, scheduler, tmp_path):
    dataset = tmp_path / "dataset"
    with Leaving(dataset) as reporter:
        engine_run(load(RECIPE, SETTINGS), [str(folder / "text.mp4")], str(dataset), reporter, Place(scheduler))
    assert reporter.left
    assert not list(dataset.rglob(f"{TEMPORARY}*"))


def files(dataset):
    return sum(len(names) for _, _, names in os.walk(dataset))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("whole_group", [True, False], ids=["everything", "the command alone"])
def test_killed_and_repeated_equals_undisturbed(folder, undisturbed, scheduler, tmp_path, whole_group):
    output = tmp_path / "dataset"
    rng = random.Random(7 + whole_group)
    whole, killed = files(undisturbed), 0
    for share in sorted(rng.uniform(0.05, 0.95) for _ in range(KILLS if whole_group else 1)):
        process = start(folder, output)
        while files(output) < share * whole and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        if process.poll() is None:
            (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed
    curate([folder], output, scheduler, SETTINGS)
    assert not difference(undisturbed, output)
    states = {r["state"] for r in rows(output, ledger.TABLE)}
    assert states == {"kept", "rejected", "failed"}


def test_a_second_run_on_the_same_dataset_is_refused(folder, tmp_path):
    output = tmp_path / "dataset"
    with Dataset(str(output)).locked():
        refused = command(*words(folder, output))
    assert refused.returncode == 1
    assert "another run is writing to this dataset" in refused.stderr


def test_a_scheduled_run_on_a_dataset_in_use_fails_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("LONGTAKE_SCHEDULES", str(tmp_path / "schedules"))
    planned = {"name": "nightly", "recipe": RECIPE, "inputs": [str(tmp_path)], "output": str(tmp_path / "dataset")}
    Store().add(Schedule(**planned, cron="0 2 * * *", timezone="UTC", created=datetime(2026, 1, 1, tzinfo=UTC)))
    with Dataset(str(tmp_path / "dataset")).locked():
        refused = CliRunner().invoke(schedule, ["run-now", "nightly"])
    assert refused.exit_code == 1
    (row,) = Store().history("nightly")
    assert row["state"] == "failed"
    assert "another run is writing to this dataset" in row["error"]
    assert "Traceback" not in row["error"]


def test_the_lock_dies_with_its_owner(tmp_path):
    holder = (
        "import sys, time; from curate.dataset import Dataset\n"
        "with Dataset(sys.argv[1]).locked():\n    print('held', flush=True); time.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", holder, str(tmp_path)], stdout=subprocess.PIPE)
    owner.stdout.readline()
    with pytest.raises(DatasetBusyError), Dataset(str(tmp_path)).locked():
        pass
    owner.kill()
    owner.wait()
    owner.stdout.close()
    with Dataset(str(tmp_path)).locked():
        pass
