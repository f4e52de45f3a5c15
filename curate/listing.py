"""From what the user typed to the paths of a run: files, folders, globs, lists, on any filesystem."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from curate.folder import ESCAPED, decoded, encoded, filesystem
from curate.remote import UrlError, plainly, redacted

VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .dv .f4v .flv .gif .h264 .hevc .ivf .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .nut .obu "
    ".ogv .rm .rmvb .ts .vob .webm .wmv .wtv .y4m".split()
)
"""What is taken from a folder. A file named by itself is taken whatever its suffix."""

LIST_SUFFIXES = frozenset({".csv", ".parquet"})

LEADS_OUT = (
    "is a link out of the folder, which is not followed; give the file itself as an input, or a glob of the links"
)
"""Who fills a folder with films must not choose which other files of this machine end up in the dataset."""

PATHS = csv.ConvertOptions(column_types={"path": pa.string()})
"""A path is text, even where all of a list's names look like numbers or dates."""
ONE_THREAD = csv.ReadOptions(use_threads=False)
"""A list is short; and a reader's threads, left behind by a bad one, may abort the process when it ends."""


MISSING = "missing"
"""Fingerprint of what is not there."""


@dataclass(frozen=True)
class Listed:
    """A path found, and how it is known whether the file there is still the same."""

    path: str
    fingerprint: str
    bytes: int
    user: str = "{}"
    """JSON object with the columns that a list carried beside `path`."""
    failure: str | None = None


_TAGS = ("ETag", "etag", "blob_id", "LastModified", "last_modified", "mtime", "modify")
"""What stores call that which changes with a file's content, the surest first; `blob_id` is the Hub's."""


@dataclass
class Listing:
    """All that the inputs came to."""

    files: dict[str, Listed] = field(default_factory=dict)
    passed_over: int = 0
    """Files in folders that are no video by their suffix."""

    def add(self, found: Listed) -> None:
        known = self.files.get(found.path)
        if known is None or known.user == "{}":
            self.files[found.path] = found


class InputError(Exception):
    """An input that cannot be understood; the message says what to write instead."""


def listing(inputs: Sequence[str]) -> Listing:
    """Find the files of the inputs.

    Args:
        inputs: each a file, a folder (searched through), a glob, or a CSV or Parquet list with a column `path`,
            local or on a filesystem that fsspec knows (`s3://…`).

    A path that is not there is listed with its failure, so that it shows up among the run's errors.

    Raises:
        InputError: a list without a `path` column, an address that holds credentials, or a filesystem that is not
            installed.
        StoreError: a store does not answer.
    """
    result = Listing()
    for given in inputs:
        with plainly(given):
            for found in _expand(given, result):
                result.add(found)
    return result


def look(url: str) -> Listed:
    """A listed path as it is now, whatever was known of it before."""
    fs, path = _filesystem(url)
    if not isinstance(fs, LocalFileSystem):
        fs.invalidate_cache(fs._parent(path))
    return _file(fs, path)


def _expand(given: str, result: Listing) -> Iterator[Listed]:
    fs, path = _filesystem(given)
    suffix = os.path.splitext(path)[1].lower()
    if suffix in LIST_SUFFIXES and fs.isfile(path):
        yield from _from_list(given, fs, path)
    elif fs.isdir(path):
        yield from _from_folder(fs, path, result)
    elif glob.has_magic(given) and not fs.exists(path):
        matches = fs.glob(path)
        if not matches:
            yield Listed(given, MISSING, 0, failure="nothing matches this pattern")
        for match in sorted(matches):
            yield from _from_folder(fs, match, result) if fs.isdir(match) else [_file(fs, match)]
    else:
        yield _file(fs, path)


def _filesystem(given: str) -> tuple[Any, str]:
    try:
        fs, path = filesystem(decoded(given))
    except UrlError as error:
        raise InputError(str(error)) from None
    except (ImportError, ValueError) as error:
        raise InputError(f"{given}: {error}") from error
    except OSError as error:  # of an archive or a cache that the address names within another
        raise InputError(f"{given}: {error.strerror or error}; give the address of what is there") from error
    return fs, os.path.abspath(path) if isinstance(fs, LocalFileSystem) else path


def _from_folder(fs: Any, folder: str, result: Listing) -> Iterator[Listed]:
    known: dict[str, Any] = {}
    paths: Iterable[str]
    local = isinstance(fs, LocalFileSystem)
    if local:
        paths = sorted(os.path.join(top, name) for top, _, names in os.walk(folder) for name in names)
    else:
        known = fs.find(folder, detail=True)
        paths = sorted(known)
    for path in paths:
        name = path.rsplit("/", 1)[-1]
        if name.startswith(".") or os.path.splitext(name)[1].lower() not in VIDEO_SUFFIXES:
            result.passed_over += 1
        elif local and os.path.islink(path) and not _inside(path, folder):
            yield Listed(encoded(path), "link", 0, failure=LEADS_OUT)
        else:
            yield _file(fs, path, known.get(path))


def _inside(path: str, folder: str) -> bool:
    """Whether what a link leads to lies in the folder, too."""
    top = os.path.realpath(folder)
    return os.path.commonpath([top, os.path.realpath(path)]) == top


def _file(fs: Any, path: str, info: dict[str, Any] | None = None) -> Listed:
    """A file as listed; `info` is what its filesystem has said of it already."""
    url = encoded(path if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(path))
    try:
        if isinstance(fs, LocalFileSystem):
            status = os.stat(path)
            if not os.path.isfile(path):
                return Listed(url, "special", 0, failure="is no regular file")
            return Listed(url, f"{status.st_size}-{status.st_mtime_ns}", status.st_size)
        info = info or fs.info(path)
        tag = next((info[name] for name in _TAGS if info.get(name)), None)
        return Listed(url, f"{info['size']}-{tag}", int(info["size"]))
    except FileNotFoundError:
        return Listed(url, MISSING, 0, failure="there is no such file")
    except OSError as error:
        return Listed(url, "unreadable", 0, failure=f"cannot be looked at: {error.strerror or error}")
    except ValueError as error:  # a name that no file can have
        return Listed(url, "unreadable", 0, failure=f"cannot be looked at: {error}")


def _from_list(given: str, fs: Any, path: str) -> Iterator[Listed]:
    """Rows of a CSV or Parquet list: `path` and any columns of the user's own, which are kept."""
    try:
        with fs.open(path, "rb") as file:
            rows = (
                pq.read_table(file)
                if path.lower().endswith(".parquet")
                else csv.read_csv(file, ONE_THREAD, convert_options=PATHS)
            )
        names = rows.column_names
    except (pa.ArrowException, ValueError, OSError) as error:
        raise InputError(f"{given}: cannot be read as a list: {' '.join(str(error).split())[:300]}") from error
    if "path" not in names:
        raise InputError(f"{given}: a list needs a column named 'path'; it has {', '.join(names)}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{given}: has two columns named {twice[0]!r}; rename one")
    if not (pa.types.is_string(kind := rows.schema.field("path").type) or pa.types.is_large_string(kind)):
        raise InputError(f"{given}: its column 'path' holds {kind}; it must be text")
    base = path.rsplit("/", 1)[0]
    for row in rows.to_pylist():
        target = row.pop("path")
        if not target:
            continue
        if "://" not in target and not target.startswith(("/", ESCAPED)):
            target = f"{base}/{target}" if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(f"{base}/{target}")
        try:
            found = _file(*_filesystem(target))
        except InputError as error:
            found = Listed(redacted(target), "refused", 0, failure=str(error).removeprefix(f"{redacted(target)}: "))
        own = redacted(json.dumps({k: v for k, v in row.items() if v is not None}, sort_keys=True, default=str))
        yield Listed(found.path, found.fingerprint, found.bytes, own, found.failure)
