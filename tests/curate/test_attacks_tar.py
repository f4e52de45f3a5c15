"""Tars made to leave their folder, to lie or to swell: the trainer's reader, and what is written from one."""

from __future__ import annotations

import io
import json
import os
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest

from curate.dataset import Dataset
from curate.folder import Folder
from pipelines.export.folder import Out, whole
from pipelines.export.taken import ExportError
from pipelines.longtune.data.index import build_index
from pipelines.longtune.data.tar import Tars, list_members
from stages.shard import _add

TOLD = json.dumps({"duration_s": 12.5, "width": 640, "height": 360}).encode()


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


def swollen(name: str, **headers: str) -> tarfile.TarInfo:
    """A member whose PAX headers say otherwise."""
    info = tarfile.TarInfo(name)
    info.pax_headers = headers
    return info


def sample(tar: tarfile.TarFile, key: str) -> None:
    for extension, data in (("json", TOLD), ("mp4", b"video"), ("txt", b"caption")):
        tar.addfile(member(f"{key}.{extension}", size=len(data)), io.BytesIO(data))


NAMES = [
    "../../escaped",
    "/tmp/escaped",
    "a/../../b",
    "..",
    "C:\\x",
    "~/x",
    "%2e%2e/x",
    "\x1b[31m",
    "a\nb",
    "‮gpj",
    "-rf",
    "$(id)",
]


def test_names_are_labels_and_nothing_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "in" / "0.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as tar:
        for name in NAMES:
            sample(tar, name)
    before = sorted(tmp_path.rglob("*"))
    index = build_index([path])
    tars = Tars()
    for take in index.takes:
        assert tars.read(path, take.members["mp4"]) == b"video"
    assert all(note.name.isprintable() for note in index.notes)
    assert sorted(tmp_path.rglob("*")) == before
    assert len(index.takes) >= 10


def test_only_regular_members_are_read(tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE)):
            for extension in ("mp4", "json", "txt"):
                tar.addfile(member(f"link{number}.{extension}", kind, link=str(tmp_path / "secret.mp4")))
        for number, kind in enumerate((tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)):
            tar.addfile(member(f"node{number}.mp4", kind))
        sample(tar, "good")
    names = [name for name, _ in list_members(path)]
    assert not [name for name in names if name.startswith(("link", "node"))]
    assert [take.key for take in build_index([path]).takes] == ["good"]


def test_a_sparse_member_is_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        sample(tar, "good")
        sparse = {
            "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1",
            "GNU.sparse.map": "0,1",
            "GNU.sparse.size": str(2**60),
        }
        tar.addfile(swollen("sparse.mp4", **sparse, **{"GNU.sparse.name": "../x.mp4"}))
    with pytest.raises(ValueError, match="cut off"):
        list(list_members(path))
    assert [take.key for take in build_index([path]).takes] == ["good"]


@pytest.mark.parametrize("size", ["9" * 30, "-1", str(2**63), str(2**40), "nan", "1e9"])
def test_sizes_of_pax_headers_are_checked_against_the_file(tmp_path: Path, size: str) -> None:
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        sample(tar, "good")
        tar.addfile(swollen("evil.mp4", size=size))
        sample(tar, "after")
    total = path.stat().st_size
    with suppress(ValueError):  # what a shard that is no tar from there on raises
        for _, found in list_members(path):
            assert found.offset >= 0
            assert found.offset + found.size <= total
    (other := tmp_path / "1.tar").touch()
    with tarfile.open(other, "w") as tar:
        sample(tar, "other")
    assert "other" in [take.key for take in build_index([path, other]).takes]


def test_a_long_name_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(member("x" * 3_000_000 + ".mp4"))
    with pytest.raises(ValueError, match="header of"):
        list(list_members(path))


# -- what is written ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_export_writes_no_name_that_leaves_its_folder(tmp_path: Path, name: str) -> None:
    out = Out(Dataset(str(tmp_path / "dataset")), tmp_path / "out")
    for path in (name, f"videos/{name}.mp4", f"{name}/x.mp4"):
        with pytest.raises(ExportError, match="no name for a file"):
            out.text(path, "x")
    assert not list(tmp_path.rglob("x.mp4"))


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/tmp/x"])
def test_a_dataset_writes_no_name_that_leaves_its_folder(tmp_path: Path, name: str) -> None:
    folder = Folder(str(tmp_path / "dataset"))
    for work in (folder.path, folder.read, folder.exists, folder.remove, lambda n: folder.write(n, b"x")):
        with pytest.raises(ValueError, match="leaves the folder"):
            work(name)


def test_a_planted_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    folder = Folder(str(tmp_path / "dataset"))
    (tmp_path / "dataset" / "report").mkdir(parents=True)
    (tmp_path / "dataset" / "report" / "index.html").symlink_to(tmp_path / "victim")
    folder.write("report/index.html", b"ours")
    assert (tmp_path / "victim").read_text() == "mine"
    assert folder.read("report/index.html") == b"ours"


def test_a_planted_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / ".lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match=r"symbolic|symlink|links"), Dataset(str(tmp_path / "dataset")).locked():
        pass
    assert (tmp_path / "victim").read_text() == "mine"


def test_an_export_into_a_link_does_not_reach_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "file").write_text("mine")
    (tmp_path / "out").symlink_to(tmp_path / "victim")
    with pytest.raises(ExportError), whole(Dataset(str(tmp_path / "dataset")), tmp_path / "out"):
        pass
    assert os.listdir(tmp_path / "victim") == ["file"]


def test_a_shards_members_have_fixed_owners_and_modes(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, "0123456789abcdef", "json", b"{}")
    with tarfile.open(tmp_path / "0.tar") as tar:
        (info,) = tar.getmembers()
    assert (info.mode, info.uid, info.gid, info.uname, info.isreg()) == (0o644, 0, 0, "", True)
    assert tarfile.data_filter(info, str(tmp_path)).name == info.name
