"""Temporary folders that outlive nobody: a killed process's are removed by the next that makes one on the machine.

A night of killed workers would fill the disk with clips of other people's video otherwise.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "longtake-"
YOUNG_S = 60.0
"""A folder this new may be one whose owner has not locked it yet, seconds: between the two it takes microseconds."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder in the system's place for temporary files (`TMPDIR`), removed when the block ends."""
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    # The lock goes with the process, however it dies, and with nothing else: a number of a process comes again.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder)
        os.close(descriptor)


@functools.cache
def _sweep() -> None:
    """Remove what dead processes of this user left. Once a process: what dies later is the next one's to find."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # somebody else's, or gone already
            facts = folder.lstat()
            if facts.st_uid != os.getuid() or time.time() - facts.st_mtime < YOUNG_S:
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(descriptor)
