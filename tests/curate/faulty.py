"""Stages that go wrong on the sources that are named for it, and only on those: a package of somebody's for the tests.

No file is known on which today's decoders crash or hang reliably; a probe that does so in the decoding process is the
same to whoever started that process.
"""

import ctypes
import os
import shutil
import signal
import time
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from curate.stage import FrameProbe, RowStage
from schemas import SOURCE_ID, Table, column
from schemas.signals import TABLE as SIGNALS

SEEN = Table("seen", 1, "A row per frame.", pa.schema([*list(SIGNALS.schema)[:4], column("height", pa.int32(), "px")]))
NOTES = Table("notes", 1, "A note on a source.", pa.schema([SOURCE_ID, column("note", pa.string(), "a note")]))


def segfault() -> None:
    ctypes.string_at(0)


def hang() -> None:
    while True:
        time.sleep(0.1)


def hang_in_c() -> None:
    """Without letting go of the interpreter: no other thread of the process runs, either."""
    ctypes.PyDLL(None).sleep(1000)


def eat() -> None:
    held = []
    while True:
        held.append(bytearray(64 << 20))


CRASHES = {"segfault": segfault, "hang": hang, "hang in c": hang_in_c, "eat": eat}


def replace(path: Path) -> None:
    """With another film, by a rename."""
    os.replace(path.parent / "other" / path.name, path)


def overwrite(path: Path) -> None:
    """With another film, in the same file."""
    path.write_bytes((path.parent / "other" / path.name).read_bytes())


def append(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(bytes(100_000))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def remove(path: Path) -> None:
    """To a place from which it can be brought back."""
    shutil.move(path, path.parent / "other" / path.name)


CHANGES = {f.__name__: f for f in (replace, overwrite, append, truncate, remove)} | {"touch": os.utime}


def meddle(path: Path, when: str) -> None:
    """Do to a file what its name says, once."""
    what, _, moment = path.stem.partition(" ")
    done = path.parent / "other" / f"{path.name}.done"
    if what in CHANGES and moment == when and not done.exists():
        done.touch()
        CHANGES[what](path)


class See(FrameProbe):
    name = "see"
    writes = SEEN

    def start(self, source):
        return _Seen(Path(source["path"]))


class _Seen:
    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0

    def update(self, frame):
        self.count += 1
        if self.count == 5:
            if self.path.stem in CRASHES:
                CRASHES[self.path.stem]()
            meddle(self.path, "in decoding")
        return {"height": frame.size[1]}


class Note(RowStage):
    """Runs between the decode and the cutting of clips, in the worker itself."""

    name = "note"
    writes = NOTES
    reads: ClassVar = {"sources": ("source_id", "path")}

    def run(self, inputs, work):
        for row in inputs["sources"].to_pylist():
            path = Path(row["path"])
            if path.stem == "kill the worker":
                time.sleep(0.1)
                os.kill(os.getpid(), signal.SIGKILL)
            meddle(path, "after decoding")
            yield {"source_id": row["source_id"], "note": "seen"}
