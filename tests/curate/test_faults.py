"""Sources on which a decoder crashes, hangs or eats memory, and sources that change or vanish while they are read.

Each fails alone, under a name that says what it was; the others come out as if it had never been there.
"""

import importlib
import os
import shutil
import subprocess
import sys
import time

import dask
import distributed
import faulty
import psutil
import pytest
from difference import difference
from engine import curate, rows
from excerpts import excerpt

from curate import cluster, plugins
from curate.dataset import Dataset
from schemas import errors, ledger, media, sources

RECIPE = """
name: faulty
limits: {stall_s: 6, memory_gib: 1}
stages:
  signals: {}
  see: {}
  cuts: {unsure: [0.5, 0.5]}
  takes: {min_s: 1}
  note: {}
  select: {rules: {}}
  clips: {preset: ultrafast}
"""
CRASHES = {
    "segfault": "crashed with SIGSEGV, 3 times out of 3",
    "hang": "made no progress for 6 s, 3 times out of 3",
    "hang in c": "made no progress for 6 s, 3 times out of 3",
    "eat": "ran out of its memory limit of 1 GiB, 3 times out of 3",
    "kill the worker": "a worker died 3 times while it had this source",
}
CHANGES = [f"{what} {when}" for what in faulty.CHANGES for when in ("in decoding", "after decoding")]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Where the package of faulty stages is installed, for this process and those that it starts."""
    site = tmp_path_factory.mktemp("site")
    shutil.copy(faulty.__file__, site)
    info = site / "faulty-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[longtake.stages]\nsee = faulty:See\nnote = faulty:Note\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site), os.pathsep)
        patch.syspath_prepend(site)
        importlib.invalidate_caches()
        plugins.entries.cache_clear()
        yield site
    plugins.entries.cache_clear()
    assert str(site) not in sys.path


@pytest.fixture(scope="module")
def faulty_cluster(package):
    """(a scheduler whose workers have the faulty stages, a recipe with them)."""
    recipe = package / "recipe.yaml"
    recipe.write_text(RECIPE)
    with cluster.connect(cluster.Place(workers=2)) as client:
        yield client.scheduler.address, str(recipe)


@pytest.fixture(scope="module")
def excerpts(footage, tmp_path_factory):
    """Makes a short film of its own for each name."""
    count = 0

    def make(folder, *names):
        nonlocal count
        folder.mkdir(exist_ok=True)
        for name in names:
            count += 1
            excerpt(footage / "footage/takes/mm_struct.mp4", folder / f"{name}.mp4", 1.2 + 0.05 * count)
        return folder

    return make


def of(dataset, good):
    """All rows of the sources of those names, by table, without what counts the whole dataset."""
    ids = {r["source_id"] for r in rows(dataset, sources.SOURCES) if any(r["path"].endswith(n) for n in good)}
    place = Dataset(str(dataset))
    tables = [name for name in place.table_names() if name != "inputs"]
    return {name: [r for r in place.stored(name).to_table().to_pylist() if r["source_id"] in ids] for name in tables}


def told(dataset):
    """By file name: every error that was filed for it."""
    found = {}
    for row in rows(dataset, errors.TABLE):
        found.setdefault(os.path.basename(row["path"]).removesuffix(".mp4"), []).append(row)
    return found


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_crashes_hangs_or_eats_memory_is_quarantined_alone(faulty_cluster, excerpts, tmp_path):
    scheduler, recipe = faulty_cluster
    folder = excerpts(tmp_path / "in", *CRASHES, "good", "sound")
    summary = curate([folder], tmp_path / "out", scheduler, [], recipe)
    assert summary.states["source"] == {"kept": 2, "rejected": 0, "failed": len(CRASHES)}
    found = told(tmp_path / "out")
    assert set(found) == set(CRASHES)
    for name, why in CRASHES.items():
        (row,) = found[name]
        assert why in row["message"]
        assert row["stage"] == "decode"
    undisturbed = tmp_path / "alone"
    curate([folder / "good.mp4", folder / "sound.mp4"], undisturbed, scheduler, [], recipe)
    good = ("good.mp4", "sound.mp4")
    assert of(tmp_path / "out", good) == of(undisturbed, good) | {"errors": []}
    assert len(of(undisturbed, good)["media"]) == 2
    assert curate([folder], tmp_path / "out", scheduler, [], recipe).tasks == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_changes_while_it_is_read_is_no_mixture(faulty_cluster, excerpts, tmp_path):
    scheduler, recipe = faulty_cluster
    folder = excerpts(tmp_path / "in", *CHANGES, "good")
    new = ("replace", "overwrite")
    excerpts(folder / "other", *(name for name in CHANGES if name.startswith(new)))
    before = {name: (folder / f"{name}.mp4").read_bytes() for name in CHANGES}
    shown = [str(folder / "*.mp4")]  # not what is in the folder below
    out = tmp_path / "out"
    summary = curate(shown, out, scheduler, [], recipe)
    assert summary.states["source"] == {"kept": 3, "rejected": 0, "failed": len(CHANGES) - 2}
    book = {
        os.path.basename(r["path"]).removesuffix(".mp4"): r for r in rows(out, ledger.TABLE) if r["kind"] == "source"
    }
    for name, errors_of in told(out).items():
        gone = name.startswith("remove")
        assert {row["error"] for row in errors_of} == {"SourceChangedError"}
        assert all(("the file is gone" if gone else "the file was changed") in row["message"] for row in errors_of)
        source_id = book[name]["source_id"]
        assert all(row["source_id"] == source_id for row in errors_of)
        for table in ("seen", "media") if name.endswith("in decoding") else ("media",):
            assert source_id not in {r["source_id"] for r in Dataset(str(out)).stored(table).to_table().to_pylist()}
    assert set(told(out)) == {name for name in CHANGES if not name.startswith("touch")}
    # What was removed comes back, as when a disk was away; then everything is as if it had always been so.
    for name in CHANGES:
        if name.startswith("remove"):
            faulty.shutil.move(folder / "other" / f"{name}.mp4", folder / f"{name}.mp4")
            assert (folder / f"{name}.mp4").read_bytes() == before[name]
    curate(shown, out, scheduler, [], recipe, retry_failed=True)
    curate(shown, tmp_path / "undisturbed", scheduler, [], recipe)
    assert not difference(tmp_path / "undisturbed", out)
    assert curate(shown, out, scheduler, [], recipe).tasks == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_changed_since_it_was_listed_is_not_decoded(faulty_cluster, excerpts, tmp_path):
    """A later run that is given no inputs reads its sources where they were."""
    scheduler, recipe = faulty_cluster
    folder = excerpts(tmp_path / "in", "same again", "other film", "gone")
    out = tmp_path / "out"
    curate([folder], out, scheduler, [], recipe)
    kept = len(rows(out, media.TABLE))
    os.utime(folder / "same again.mp4")
    excerpt(folder / "same again.mp4", folder / "other film.mp4", 1)
    (folder / "gone.mp4").unlink()
    curate([], out, scheduler, ["clips.crf=30"], recipe)
    assert kept == 3
    found = {os.path.basename(r["path"]): r["message"] for r in rows(out, errors.TABLE)}
    assert found.keys() == {"other film.mp4", "gone.mp4"}
    assert "the file was changed" in found["other film.mp4"]
    assert "the file is gone" in found["gone.mp4"]
    summary = curate([folder], out, scheduler, ["clips.crf=30"], recipe)
    assert summary.states["source"] == {"kept": 2, "rejected": 0, "failed": 1}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("allowed", [0, 1], ids=["our cluster", "somebody's"])
def test_who_waited_on_a_worker_that_died_is_not_blamed(package, excerpts, tmp_path, allowed):
    """A scheduler of somebody's own starts a task again itself: then deaths are its, too."""
    (tmp_path / "recipe.yaml").write_text("name: notes\nstages:\n  note: {}\n")
    folder = excerpts(tmp_path / "in", "kill the worker", *(f"good {number}" for number in range(5)))
    settings = {"distributed.scheduler.allowed-failures": allowed, "distributed.admin.log-format": "%(message)s"}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as other,
    ):
        summary = curate([folder], tmp_path / "out", other.scheduler_address, [], str(tmp_path / "recipe.yaml"))
    assert summary.states["source"]["failed"] == 1
    (row,) = rows(tmp_path / "out", errors.TABLE)
    assert row["path"].endswith("kill the worker.mp4")
    assert "a worker died" in row["message"]
    assert len(Dataset(str(tmp_path / "out")).stored("notes").to_table()) == 5


PARENT = """
import subprocess
import sys
import time
from curate.media.probe import probe
from curate.sandbox import Sandbox
path, box = sys.argv[1], Sandbox(4, 600)
box.call("probe", {"path": path})
print(box._child.pid, flush=True)
whole = {"start_pts": None, "end_pts": None, "lead_pts": None}
box.call("analyze", {"source": {"source_id": "s" * 32, "path": path, **probe(path)}, "probes": {"see": {}},
                     "interval": whole})
"""


def test_a_child_that_never_lets_go_of_the_interpreter_ends_with_its_parent(package, excerpts, tmp_path):
    path = excerpts(tmp_path / "in", "hang in c") / "hang in c.mp4"
    with subprocess.Popen([sys.executable, "-c", PARENT, str(path)], stdout=subprocess.PIPE, text=True) as parent:
        orphan = psutil.Process(int(parent.stdout.readline()))
        time.sleep(3)  # it is in the library by then, or on its way
        parent.kill()
        parent.wait()
        psutil.wait_procs([orphan], timeout=15)
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
