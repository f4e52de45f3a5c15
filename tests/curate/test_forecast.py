"""A forecast comes from a real sample, and a run says how wrong it was."""

import json
from itertools import pairwise

from engine import RECIPE
from excerpts import excerpt
from hypothesis import given
from hypothesis import strategies as st
from verbs import command

from curate.forecast import sample
from curate.listing import Listed

NAMES = ("yoga.mp4", "pancake.mkv", "mm_struct.mp4")
QUICK = ["takes.min_s=1", "screen.rules={}", "select.rules={}", "clips.preset=ultrafast"]


def cli(*words):
    overrides = [part for setting in QUICK for part in ("--set", setting)]
    return command(*words, *overrides)


def test_planned_then_run_then_judged(footage, scheduler, tmp_path):
    (tmp_path / "in").mkdir()
    for name in NAMES:
        excerpt(footage / "footage/takes" / name, tmp_path / "in" / name, 3)
    where = ("-i", tmp_path / "in", "-o", tmp_path / "dataset", "--scheduler", scheduler)
    planned = cli("plan", RECIPE, *where, "--sample", 2, "--price-per-hour", 3.5, "--json")
    made = json.loads(planned.stdout)
    assert (made["sources"], made["sampled"], made["threads"]) == (3, 2, 2)
    for name in ("video_h", "worker_h", "wall_h", "disk_gb", "cost"):
        value, low, high = made[name]
        assert 0 < low <= value <= high
    assert made["cost"][0] == made["wall_h"][0] * 3.5
    ran = json.loads(cli("run", RECIPE, *where, "--json").stdout)
    assert set(ran["forecast"]) == {"wall_h", "worker_h", "disk_gb", "kept_h"}
    assert ran["forecast"]["disk_gb"]["real"] > 0
    # Later runs did something else than was forecast.
    assert json.loads(cli("run", RECIPE, *where, "--json").stdout)["forecast"] is None


def test_nothing_to_plan_is_said(tmp_path):
    refused = cli("plan", RECIPE, "-i", tmp_path)
    assert refused.returncode == 2
    assert "no video was found" in refused.stderr


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=60), st.integers(1, 20))
def test_a_sample_is_spread_over_the_sizes(sizes, count):
    files = [Listed(f"/{number}", "", size) for number, size in enumerate(sizes)]
    chosen = sample(files, count)
    assert len(chosen) == len({file.path for file in chosen}) == min(count, len(files))
    rank = {file.path: number for number, file in enumerate(sorted(files, key=lambda f: (f.bytes, f.path)))}
    ranks = [rank[file.path] for file in chosen]
    assert all(b - a <= len(files) / min(count, len(files)) + 1 for a, b in pairwise(ranks))
