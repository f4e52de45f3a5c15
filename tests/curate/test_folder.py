"""A file in a folder is there whole or not at all, on a disk and on a remote filesystem."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from curate.folder import TEMPORARY, Folder, fetched


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    if request.param == "disk":
        yield Folder(str(tmp_path / "dataset"))
        return
    yield Folder("memory://bucket/dataset")
    memory = fsspec.filesystem("memory")
    for path in memory.find("/bucket"):
        memory.rm_file(path)


def test_write_and_read(folder: Folder) -> None:
    folder.write("tables/a.txt", b"one")
    folder.write("tables/a.txt", b"two")
    assert folder.read("tables/a.txt") == b"two"
    assert folder.exists("tables/a.txt")
    assert folder.names("tables") == ["a.txt"]


def test_names_and_tree(folder: Folder) -> None:
    for name in ("tables/a/1.parquet", "tables/a/2.parquet", "tables/b.parquet", "ключ 1.txt"):
        folder.write(name, b"x")
    assert sorted(folder.names("tables/a")) == ["1.parquet", "2.parquet"]
    assert folder.names("tables") == ["b.parquet"]
    assert folder.names("nowhere") == []
    assert sorted(folder.tree("tables")) == ["tables/a/1.parquet", "tables/a/2.parquet", "tables/b.parquet"]
    assert folder.tree("nowhere") == []
    assert "ключ 1.txt" in folder.names("")


def test_remove_is_done_when_the_file_is_gone(folder: Folder) -> None:
    folder.write("a.txt", b"x")
    folder.remove("a.txt")
    folder.remove("a.txt")
    assert not folder.exists("a.txt")


def test_move_in_takes_the_local_file_away(folder: Folder, tmp_path: Path) -> None:
    local = tmp_path / "clip.mp4"
    local.write_bytes(b"film")
    folder.move_in(local, "clips/ab/clip.mp4")
    assert folder.read("clips/ab/clip.mp4") == b"film"
    assert not local.exists()


def test_fetch_gives_a_local_file(folder: Folder) -> None:
    folder.write("shards/a.tar", b"tar")
    with folder.fetch("shards/a.tar") as path:
        assert path.read_bytes() == b"tar"
        assert path.suffix == ".tar"


def test_copy_of_a_remote_file_is_gone_afterwards(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/bucket/a.mp4", b"film")
    with fetched("memory://bucket/a.mp4") as path:
        assert Path(path).read_bytes() == b"film"
    assert not os.path.exists(path)
    local = tmp_path / "b.mp4"
    local.write_bytes(b"film")
    with fetched(str(local)) as path:
        assert path == str(local)
    assert local.exists()


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/etc/passwd", "a/..", ".."])
def test_path_that_leaves_the_folder_is_refused(folder: Folder, name: str) -> None:
    for action in (folder.read, folder.exists, folder.remove, folder.names, lambda n: folder.write(n, b"")):
        with pytest.raises(ValueError, match="leaves the folder"):
            action(name)


def test_crash_while_writing_leaves_no_target(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    folder.write("a/b.txt", b"old")

    def write_and_crash(name: str) -> None:
        with folder._new_file(name) as temporary:
            Path(temporary).write_bytes(b"half")
            raise KeyboardInterrupt

    for name in ("a/b.txt", "a/new.txt"):
        with pytest.raises(KeyboardInterrupt):
            write_and_crash(name)
    assert folder.read("a/b.txt") == b"old"
    assert os.listdir(tmp_path / "a") == ["b.txt"]


def test_kill_while_writing_leaves_no_target(tmp_path: Path) -> None:
    """The process is gone in the middle of a write: only a temporary file stays, which is not seen and is swept."""
    folder = Folder(str(tmp_path))
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = os.listdir(tmp_path / "a")
    assert left.startswith(TEMPORARY)
    assert not folder.exists("a/b.txt")
    assert folder.names("a") == []
    assert folder.tree("a") == []
    folder.sweep()
    assert os.listdir(tmp_path / "a") == []


KILLED = """
import os, signal, sys
from curate.folder import Folder
with Folder(sys.argv[1])._new_file("a/b.txt") as temporary:
    open(temporary, "wb").write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_failed_rename_leaves_nothing(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(OSError, match="taken"):
        folder.write("taken", b"x")
    assert os.listdir(tmp_path) == ["taken"]


def test_writers_of_the_same_file_do_not_mix(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    with folder._new_file("a") as first, folder._new_file("a") as second:
        assert first != second
        Path(first).write_bytes(b"1" * 100)
        Path(second).write_bytes(b"2" * 10)
    assert folder.read("a") == b"1" * 100
    assert os.listdir(tmp_path) == ["a"]
