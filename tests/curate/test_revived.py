"""A local cluster whose workers die while they start, so that Dask's nannies give them up, gets new ones."""

import time

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
                if process.pid not in others and any("spawn_main" in word for word in process.cmdline()):
                    process.kill()
                    quiet = time.monotonic()
            time.sleep(0.2)
        assert not client.nthreads()
        assert cluster.threads(client) == 1
