"""Temporary folders that outlive nobody: a killed process's are removed by the next that makes one on the machine.

A night of killed workers would fill the disk with clips of other people's video otherwise.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "longtake-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder in the system's place for temporary files (`TMPDIR`), removed when the block ends."""
    _sweep()
    folder, descriptor = _made()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        os.close(descriptor)


def _made() -> tuple[Path, int]:
    """A new folder and the descriptor that locks it.

    The lock goes with the process, however it dies, and with nothing else: a number of a process comes again, and a
    folder's age is what the clock says. Whoever sweeps between making and locking takes the folder for a dead one's:
    then another is made.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        with suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if folder.exists():
                return folder, descriptor
            os.close(descriptor)


@functools.cache
def _sweep() -> None:
    """Remove what dead processes of this user left. Once a process: what dies later is the next one's to find."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # somebody else's, or gone already
            if folder.lstat().st_uid != os.getuid():
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(descriptor)
