"""The clocks of machines are set while jobs run: nothing that a job decides may hang on them."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from difference import difference
from engine import EVERYTHING, RECIPE, curate
from excerpts import excerpt

from curate import history
from curate.dataset import Dataset

JUMPING = """
import os, random, time
told, between, dice = time.time, [0.0, 0], random.Random(os.getpid())

def jumped():
    if time.monotonic() > between[0]:
        between[:] = time.monotonic() + dice.uniform(0.2, 2), dice.choice((-86400, 0, 86400))
        with open(os.path.join(os.path.dirname(__file__), f"{os.getpid()}.jumps"), "a") as log:
            log.write(f"{between[1]}\\n")
    return told() + between[1]

time.time = jumped
time.time_ns = lambda: int(jumped() * 1e9)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_clocks_that_jump_by_a_day_change_nothing(footage, scheduler, tmp_path):
    for name, seconds in (("pancake.mkv", 1.2), ("mm_struct.mp4", 1.5)):
        (tmp_path / "in").mkdir(exist_ok=True)
        excerpt(footage / "footage/takes" / name, tmp_path / "in" / name, seconds)
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(JUMPING)
    command = [
        sys.executable,
        "-m",
        "curate.cli",
        "run",
        RECIPE,
        "-i",
        str(tmp_path / "in"),
        "-o",
        str(tmp_path / "out"),
    ]
    command += ["--workers", "2", "--json", *(part for setting in EVERYTHING for part in ("--set", setting))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    jumps = [log.read_text().split() for log in site.glob("*.jumps")]
    assert len(jumps) >= 4  # client, workers, decoding children
    assert any({"86400", "-86400"} <= set(of_one) for of_one in jumps)
    assert json.loads(done.stdout)["states"]["source"] == {"kept": 2, "rejected": 0, "failed": 0}
    curate([tmp_path / "in"], tmp_path / "undisturbed", scheduler)
    assert not difference(tmp_path / "undisturbed", tmp_path / "out")


def test_the_latest_run_is_the_latest_where_the_clock_was_set_back(tmp_path, monkeypatch):
    """A run's profile is that of the run before, if it changed nothing: of the one before, not of the latest hour."""
    clock = [datetime(2026, 5, 1, tzinfo=UTC)]
    monkeypatch.setattr(history, "datetime", _Clock(clock))
    dataset = Dataset(str(tmp_path))
    for days, tasks in ((0, 1), (-1, 1), (-1, 0), (-2, 0)):
        clock[0] = datetime(2026, 5, 1, tzinfo=UTC) + timedelta(days=days)
        with history.recorded(dataset, "quick") as record:
            record.tasks = tasks
    first, second, third, fourth = history.records(dataset)
    assert [run.began[:10] for run in (first, second, third, fourth)] == [
        "2026-05-01", "2026-04-30", "2026-04-30", "2026-04-29",
    ]  # fmt: skip
    assert first.profile != second.profile == third.profile == fourth.profile


class _Clock:
    """`datetime` with a clock of one's own."""

    strptime = datetime.strptime

    def __init__(self, now):
        self._now = now

    def now(self, zone):
        return self._now[0]
