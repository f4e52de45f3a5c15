"""What all tests share: the real footage, found in one place, and a Dask cluster that is started once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from curate import cluster
from curate.place import Place

REPOSITORY = Path(__file__).parents[1]

# Tiny tensors on many threads cost more in waiting than in work, here and in every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def footage() -> Path:
    """The folder of real footage: env LONGTAKE_FOOTAGE, by default `shared` beside the checkout."""
    root = Path(os.environ.get("LONGTAKE_FOOTAGE", REPOSITORY.parent / "shared"))
    if not (root / "footage").is_dir():
        message = f"no footage at {root}; set LONGTAKE_FOOTAGE to a folder with footage/takes, footage/edited, ..."
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return root


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """Address of a real two-process Dask cluster that lasts for all tests."""
    with cluster.connect(Place(workers=2)) as client:
        yield client.scheduler.address
