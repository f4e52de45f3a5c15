"""Where each member of a tar lies, from its headers alone, and reading one by its offset.

Tars are hostile: nothing is unpacked, names are labels and never paths, and every place is checked against the file's
own size before it is used.
"""

from __future__ import annotations

import io
import os
import tarfile
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MAX_HEADER = 1 << 20  # bytes of a long name or PAX header; real ones are some hundred
_OPEN_FILES = 64  # shards that a process holds open; a usual limit is 1024


@dataclass(frozen=True, slots=True)
class Member:
    """The bytes of one member: `size` of them from `offset` of the tar."""

    offset: int
    size: int


class _Headers(io.FileIO):
    """A tar of which nothing large is ever read."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError(f"has a header of {size} bytes")
        return super().read(size)


def list_members(path: Path) -> Iterator[tuple[str, Member]]:
    """Name and place of every regular member, in the tar's order.

    Raises:
        OSError: the file cannot be read.
        ValueError: what follows the last member given is no tar, or is cut off.
    """
    with _Headers(path) as file:
        total = os.fstat(file.fileno()).st_size
        end = 0
        try:
            with tarfile.open(fileobj=file, mode="r:", errors="surrogateescape") as tar:
                while (info := tar.next()) is not None:
                    if info.size < 0 or info.offset_data < end:
                        raise ValueError("has a member of negative size")
                    if info.offset_data + info.size > total:
                        raise ValueError(f"is cut off after {total} bytes, in {printable(info.name)}")
                    end = info.offset_data + info.size
                    if info.isreg() and not info.issparse():
                        yield info.name, Member(info.offset_data, info.size)
                # tarfile takes a cut-off or senseless header for the end.
                if os.pread(file.fileno(), tarfile.BLOCKSIZE, tar.offset) != bytes(tarfile.BLOCKSIZE):
                    raise ValueError(f"is cut off, or is no tar, from byte {tar.offset} on")
        except (tarfile.TarError, OverflowError, RecursionError, MemoryError) as error:
            raise ValueError(f"is cut off, or is no tar, from byte {end} on ({error})") from error


def printable(text: str) -> str:
    """A name out of a tar, fit for a terminal, a log and UTF-8."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]


class _Opened:
    """A tar's descriptor, closed when the last of its readers is gone."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._finalizer = weakref.finalize(self, os.close, self.descriptor)


class Tars:
    """Reads members of many tars, and keeps the latest open. Belongs to one process."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, _Opened] = OrderedDict()

    def read(self, path: Path, member: Member) -> bytes:
        """A whole member. Raises `OSError` if the tar has become shorter."""
        data = os.pread(self._file(path).descriptor, member.size, member.offset)
        if len(data) < member.size:
            raise OSError(f"{path}: ends within a member; it has changed since it was indexed")
        return data

    def open(self, path: Path, member: Member) -> MemberFile:
        """A member as a file, of which only what is asked for is read."""
        return MemberFile(self._file(path), member)

    def _file(self, path: Path) -> _Opened:
        if path not in self._files:
            self._files[path] = _Opened(path)
            if len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)
        self._files.move_to_end(path)
        return self._files[path]


class MemberFile(io.RawIOBase):
    """A read-only view of a member; `bytes_read` counts what was fetched through it."""

    def __init__(self, file: _Opened, member: Member) -> None:
        self._file, self._member, self._at = file, member, 0
        self.bytes_read = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._member.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview | bytearray, /) -> int:  # type: ignore[override]
        wanted = max(0, min(len(buffer), self._member.size - self._at))
        if not wanted:
            return 0
        got = os.preadv(self._file.descriptor, [memoryview(buffer)[:wanted]], self._member.offset + self._at)
        self._at += got
        self.bytes_read += got
        return got
