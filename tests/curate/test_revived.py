"""A local cluster whose workers die while they start, so that Dask's nannies give them up, gets new ones."""

import time
from contextlib import suppress

import dask
import psutil
import pytest

from curate import cluster


@pytest.mark.slow
def test_workers_that_were_given_up_are_replaced():
    others = {process.pid for process in psutil.Process().children()}
    # Until then Dask does not forget a worker.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "3s"}),
        cluster.connect(cluster.Place(workers=1)) as client,
    ):
        assert cluster.threads(client) == 1
        quiet = time.monotonic()
        while time.monotonic() - quiet < 4:
            for process in psutil.Process().children():
                with suppress(psutil.Error):  # one that is dying already
                    if process.pid not in others and any("spawn_main" in word for word in process.cmdline()):
                        process.kill()
                        quiet = time.monotonic()
            time.sleep(0.2)
        assert not client.nthreads()
        assert cluster.threads(client) == 1


@pytest.fixture
def dying(tmp_path):
    """Workers die while they start as long as a folder has files, of which each takes one with it."""
    preload = tmp_path / "dying.py"
    preload.write_text(
        "import os, pathlib\n"
        f"for left in sorted(pathlib.Path({str(tmp_path)!r}, 'left').glob('*')):\n"
        "    left.unlink()\n"
        "    os._exit(1)\n"
    )
    (tmp_path / "left").mkdir()
    with dask.config.set({"distributed.worker.preload": [str(preload)]}):
        yield tmp_path / "left"


@pytest.mark.slow
def test_a_worker_that_dies_while_the_cluster_starts_costs_a_second_start(dying):
    (dying / "once").touch()
    told = []
    with cluster.connect(cluster.Place(workers=1), told.append) as client:
        assert cluster.threads(client) == 1
    assert [line for line in told if "a worker died while the local cluster started" in line] == told != []


@pytest.mark.slow
def test_workers_that_never_start_are_told_with_the_cure(dying):
    for number in range(99):
        (dying / str(number)).touch()
    with (
        pytest.raises(cluster.ClusterError, match=r"the local workers do not start .*--workers"),
        cluster.connect(cluster.Place(workers=1)),
    ):
        raise AssertionError("there is no cluster")
