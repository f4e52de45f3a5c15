"""What all tests share: the real footage, found in one place, and a Dask cluster that is started once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


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
