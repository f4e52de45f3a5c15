"""A folder on any filesystem that fsspec knows, in which a file is there whole or not at all.

All that the engine reads and writes of a dataset goes through here. On an object store a file appears when its PUT, or
the completion of its multi-part upload, has been answered; nobody sees it before, so that no rename is needed.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote

import fsspec
import pyarrow.fs
from fsspec.implementations.local import LocalFileSystem

from curate.remote import (
    BUCKETS,
    PARALLEL,
    READS,
    ArrowFiles,
    RemoteFile,
    StoreError,
    download,
    open_filesystem,
    plainly,
    read_whole,
    scheme,
    store,
)
from curate.scratch import scratch_folder

TEMPORARY = ".tmp-"
"""Mark in the names of files that are being written; what a killed run left behind is found by it."""


STORAGE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, StoreError.NUMBER)
"""A disk that is full or may not be written to."""

ESCAPED = "longtake-escaped:"
"""Mark of a path whose bytes are no text; the rest is percent-encoded, since tables hold text only."""


class Folder:
    """Files under one root, named by relative paths with forward slashes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.fs, self.root = filesystem(url)
        self.local = isinstance(self.fs, LocalFileSystem)
        self.guard: Callable[[], None] = lambda: None
        """Called before anything is written to a remote folder; raises where that may not be any more."""

    @property
    def arrow(self) -> Any:
        """The filesystem as `pyarrow.dataset` takes it."""
        if self.local:
            return self.fs
        return pyarrow.fs.PyFileSystem(ArrowFiles(self.fs))  # type: ignore[abstract]  # by its stubs, not in truth

    def path(self, relative: str) -> str:
        """The file's full name on its filesystem."""
        if relative.startswith("/") or ".." in relative.split("/"):
            raise ValueError(f"{relative!r} leaves the folder {self.url}")
        return f"{self.root}/{relative}"

    def address(self, relative: str) -> str:
        """The file's name for people and other programs: a local path, or an address with its scheme."""
        path = self.path(relative)
        if self.url.startswith(BUCKETS):
            return str(self.fs.unstrip_protocol(path))
        return path if self.local else f"{scheme(self.url)}://{path}"

    def exists(self, relative: str) -> bool:
        path = self.path(relative)
        if self.local:
            return os.path.exists(path)
        try:
            with plainly(self.url):
                self.fs.info(path)  # what fsspec calls `exists` takes a store that is away for one without the file
        except FileNotFoundError:
            return False
        return True

    def read(self, relative: str) -> bytes:
        path = self.path(relative)
        with plainly(self.url):
            return bytes(self.fs.cat_file(path)) if self.local else read_whole(self.fs, path)

    def open(self, relative: str) -> IO[bytes]:
        """A file to read from at any place."""
        path = self.path(relative)
        return open(path, "rb") if self.local else io.BufferedReader(RemoteFile(self.fs, path))

    def write(self, relative: str, data: bytes) -> None:
        """Write a whole file in one step: a rename on a local disk, one PUT on an object store."""
        if not self.local:
            path = self.path(relative)
            with self._writing():
                self.fs.pipe_file(path, data)
            return
        with self._new_file(relative) as temporary, open(temporary, "wb") as file:
            file.write(data)

    def move_in(self, local: Path, relative: str) -> None:
        """Bring a finished local file into the folder in one step; the local file is gone afterwards."""
        if not self.local:
            path = self.path(relative)
            with self._writing():
                self._upload(str(local), path)
            local.unlink()
            return
        with self._new_file(relative) as temporary:
            shutil.move(str(local), temporary)

    def copy_in(self, local: Path, relative: str) -> None:
        """Bring a local file into the folder in one step; it stays where it is. A hard link where the disk can."""
        if not self.local:
            self.fs.put_file(str(local), self.path(relative))
            return
        with self._new_file(relative) as temporary:
            try:
                os.link(local, temporary)
            except OSError:
                shutil.copyfile(local, temporary)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """What a remote write goes through. That it is not allowed is the job's fault, not that of what is written."""
        self.guard()
        try:
            with plainly(self.url):
                yield
        except PermissionError as error:
            raise StoreError(f"{self.url}: {error.strerror or error}") from None

    def _upload(self, local: str, path: str) -> None:
        """One PUT, or one multi-part upload for what is larger than two parts."""
        bounded = {"max_concurrency": PARALLEL} if store(self.url) == "s3" else {}
        for attempt in range(READS):
            try:
                self.fs.put_file(local, path, **bounded)
                return
            except FileNotFoundError:
                # An upload whose completion was answered unclearly is unknown to the store when it is asked again.
                if attempt + 1 == READS or not os.path.exists(local) or not bounded:
                    raise

    @contextmanager
    def _new_file(self, relative: str) -> Iterator[str]:
        """A temporary name beside the target that becomes the target when the block ends well."""
        target = self.path(relative)
        parent, name = os.path.split(target)
        temporary = f"{parent}/{TEMPORARY}{uuid.uuid4().hex[:12]}-{name}"
        try:
            os.makedirs(parent, exist_ok=True)
            yield temporary
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, target)
        except BaseException as error:
            with suppress(OSError):  # of a disk that may not be written to it is not the first complaint that counts
                os.unlink(temporary)
            if isinstance(error, OSError) and error.errno in STORAGE_ERRNOS:
                error.filename = target
            raise

    @contextmanager
    def fetch(self, relative: str) -> Iterator[Path]:
        """The file on a local disk, for libraries that need a path."""
        with fetched(self.address(relative)) as path:
            yield Path(path)

    def names(self, relative: str) -> list[str]:
        """Names of the files directly in a sub-folder; empty where there is none."""
        try:
            if self.local:
                with os.scandir(self.path(relative)) as entries:
                    return [e.name for e in entries if e.is_file() and not e.name.startswith(TEMPORARY)]
            path = self.path(relative)
            with plainly(self.url):
                self.fs.invalidate_cache()
                found = self.fs.ls(path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [f["name"].rsplit("/", 1)[-1] for f in found if f["type"] == "file"]

    def tree(self, relative: str) -> list[str]:
        """Relative paths of all the files below a sub-folder."""
        return list(self.sizes(relative))

    def sizes(self, relative: str) -> dict[str, int]:
        """Bytes of all the files below a sub-folder, by relative path."""
        path = self.path(relative)
        try:
            with plainly(self.url):
                found = self.fs.find(path, detail=True)
        except FileNotFoundError:
            return {}
        named = {p[len(self.root) + 1 :]: int(facts["size"] or 0) for p, facts in found.items()}
        return {p: size for p, size in named.items() if not p.rsplit("/", 1)[-1].startswith(TEMPORARY)}

    def remove(self, relative: str) -> None:
        """Delete a file; one that is already gone is as good."""
        path = self.path(relative)
        if not self.local:
            self.guard()
        try:
            with plainly(self.url):
                self.fs.rm_file(path)
        except FileNotFoundError:
            return

    def sweep(self) -> None:
        """Delete what killed runs left half-written. Only for the holder of the dataset's lock."""
        if not self.local:
            self._abort_uploads()
            return
        for parent, _, names in os.walk(self.root):
            for name in names:
                if name.startswith(TEMPORARY):
                    os.unlink(os.path.join(parent, name))

    def _abort_uploads(self) -> None:
        """End the multi-part uploads of killed runs: nobody sees their parts, but everybody pays for them."""
        if store(self.url) != "s3" or self.url.startswith(BUCKETS):
            return  # the other stores forget them by themselves, after a week
        bucket, _, prefix = f"{self.root.rstrip('/')}/".partition("/")
        try:
            with plainly(self.url):
                begun = self.fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix).get("Uploads", [])
                for upload in begun:
                    self.fs.abort_mpu(bucket, upload["Key"], upload["UploadId"])
        except (FileNotFoundError, PermissionError, NotImplementedError):
            return  # ended meanwhile, or not ours to list: a lifecycle rule of the bucket has to do it


def storage_fault(error: BaseException | None) -> int | None:
    """The errno of a full or read-only disk, if that is what an error comes from; it is no input's fault."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in STORAGE_ERRNOS:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def storage_told(number: int, where: str) -> str:
    """What a user reads about a full or read-only disk: where, how much is left, and what to do."""
    if number == errno.EROFS:
        return f"{where}: {os.strerror(number)}; make it writable and run the same command again"
    scratch = tempfile.gettempdir()
    left = f"{_free(scratch)} MB left for temporary files in {scratch}"
    if "://" not in where:
        left = f"{_free(where)} MB left there, {left}"
    return (
        f"{where}: {os.strerror(number)} ({left}); free space and run the same command again, which goes on from here"
    )


def _free(path: str) -> str:
    """MB that a user may still write where a path is or would be."""
    while path and not os.path.exists(path):
        path = os.path.dirname(path)
    return f"{shutil.disk_usage(path or '.').free / 1e6:.1f}"


def filesystem(url: str) -> tuple[Any, str]:
    """The filesystem of a URL, and the file's name there.

    A name without a scheme is a local file, whatever is in it; fsspec would take `::` for one filesystem in another.

    Raises:
        UrlError: it holds credentials, or nothing that is installed speaks its scheme.
    """
    if "://" in url:
        return open_filesystem(url)
    return fsspec.filesystem("file"), LocalFileSystem._strip_protocol(url)


@contextmanager
def fetched(url: str) -> Iterator[str]:
    """A file of any filesystem as a local path; a remote one is copied for as long as the block lasts."""
    fs, path = filesystem(decoded(url))
    if isinstance(fs, LocalFileSystem):
        yield path
        return
    with scratch_folder() as folder:
        local = os.path.join(folder, "source" + os.path.splitext(path)[1])
        if store(url):
            download(fs, path, local)
        else:
            fs.get_file(path, local)
        yield local


def encoded(path: str) -> str:
    """A path as text: itself, or percent-encoded under a mark where its bytes are no UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return ESCAPED + quote(os.fsencode(path))
    return path


def decoded(text: str) -> str:
    """The path that `encoded` made text of."""
    return os.fsdecode(unquote(text[len(ESCAPED) :], errors="surrogateescape")) if text.startswith(ESCAPED) else text
