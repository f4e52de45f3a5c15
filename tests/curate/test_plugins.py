"""A stage from somebody else's package: found by name, run like our own, and contained when it goes wrong."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from excerpts import excerpt
from verbs import command

from curate import cluster, plugins
from curate.place import Place

PACKAGE = """
import os, signal
import pyarrow as pa
from curate.stage import RowStage, Stage
from schemas import SOURCE_ID, Table, column

TABLE = Table("notes", 1, "A note on a source.", pa.schema([SOURCE_ID, column("note", pa.string(), "a note")]))

class Note(RowStage):
    name = "note"
    writes = TABLE
    reads = {"sources": ("source_id", "width")}
    greeting: str = "hello"

    def run(self, inputs, work):
        for row in inputs["sources"].to_pylist():
            if self.greeting == "die" and row["width"] == 426:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.greeting == "raise" and row["width"] == 426:
                raise ValueError("no note for this one")
            yield {"source_id": row["source_id"], "note": f"{self.greeting} {row['width']}"}
"""


@pytest.fixture(scope="module")
def home(footage, tmp_path_factory):
    """A folder with an installed package that brings one stage, a recipe that uses it, and two videos."""
    home = tmp_path_factory.mktemp("home")
    site = home / "site"
    site.mkdir()
    (site / "noting.py").write_text(PACKAGE)
    info = site / "noting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: noting\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[longtake.stages]\nnote = noting:Note\n")
    (home / "recipe.yaml").write_text("name: notes\nstages:\n  note: {}\n  signals: {}\n")
    (home / "in").mkdir()
    for name in ("takes/mm_struct.mp4", "edited/bikes.mp4"):
        excerpt(footage / "footage" / name, home / "in" / os.path.basename(name), 1)
    return home


@pytest.fixture(scope="module")
def place(home):
    """Options for a cluster whose workers have the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(home / "site")  # workers look where their parent does
        with cluster.connect(Place(workers=2)) as client:
            yield ["--scheduler", client.scheduler.address]
    plugins.entries.cache_clear()


def run(home, output, *more):
    line = [sys.executable, "-m", "curate.cli", "run", str(home / "recipe.yaml"), "-i", str(home / "in")]
    environment = {**os.environ, "PYTHONPATH": str(home / "site")}
    return subprocess.run(
        [*line, "-o", str(output), "--json", *more], env=environment, capture_output=True, text=True, cwd=home
    )


def notes(output):
    import pyarrow.parquet as pq

    return sorted(
        row["note"] for part in (output / "tables/notes").iterdir() for row in pq.read_table(part).to_pylist()
    )


def test_a_foreign_stage_runs_like_our_own(home, place, tmp_path):
    done = run(home, tmp_path / "out", "--set", "note.greeting=good day")
    assert done.returncode == 0, done.stderr
    assert notes(tmp_path / "out") == ["good day 426", "good day 640"]
    assert json.loads(run(home, tmp_path / "out", "--set", "note.greeting=good day", *place).stdout)["tasks"] == 0


@pytest.mark.parametrize(("greeting", "reason"), [("die", "a worker died 3 times"), ("raise", "no note for this one")])
def test_a_source_on_which_a_stage_dies_or_raises_fails_alone(home, place, tmp_path, greeting, reason):
    done = run(home, tmp_path / "out", "--set", f"note.greeting={greeting}", *place)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["states"]["source"] == {"kept": 0, "rejected": 1, "failed": 1}
    assert notes(tmp_path / "out") == [f"{greeting} 640"]
    (filed,) = json.loads(command("status", tmp_path / "out", "--json").stdout)["errors"]
    assert reason in filed["message"]
    assert filed["path"].endswith("mm_struct.mp4")
    assert json.loads(run(home, tmp_path / "out", "--set", f"note.greeting={greeting}", *place).stdout)["tasks"] == 0


def test_resources_that_no_worker_has_are_refused_at_once(home, place, tmp_path):
    needy = (
        (home / "site/noting.py")
        .read_text()
        .replace('    name = "note"', '    name = "note"\n    resources = {"GPU": 1}')
    )
    other = tmp_path / "site"
    shutil.copytree(home / "site", other)
    (other / "noting.py").write_text(needy)
    shutil.copy(home / "recipe.yaml", tmp_path)
    shutil.copytree(home / "in", tmp_path / "in")
    done = run(tmp_path, tmp_path / "out", *place)
    assert done.returncode == 1
    assert "needs workers with GPU=1" in done.stderr
    assert "Traceback" not in done.stderr
