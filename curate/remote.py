"""What is particular to filesystems that are not a disk: how patiently they are asked, and what their errors mean.

`curate.folder` goes through here for every address with a scheme. Credentials come from each client's standard chain
(environment, its configuration files, the machine's role) and from nowhere else: an address that holds some is refused.
"""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import fsspec
import pyarrow
import pyarrow.fs

_STORES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
"""Schemes of the stores that datasets are made for, and which of our extras speaks each."""
BUCKETS = "hf://buckets/"
"""The Hub's own object store (`curate.buckets`); what else is at `hf://` are repositories."""

ATTEMPTS = 8
"""Tries of a request, as botocore's `standard` mode counts and spaces them: half a minute on average until the last.
Its own default, 3, gives up within two seconds; a store that throttles a thousand workers takes longer than that."""
READS = 4
"""Tries, each of up to ATTEMPTS, of a request whose connection or whose answer's body breaks off."""
READ_S = 60
"""How long an answer may take to begin, seconds: botocore's default. s3fs waits 15 s, and a store that puts together a
large upload may take longer."""
FIRST = 4 * 2**20
"""Bytes of the first request for a file: most parts of tables are smaller, and cost one request then."""
PIECE = 16 * 2**20
"""Bytes of the others; of a download, four are under way at a time."""
PARALLEL = 4
"""Pieces under way of one upload or download: 200 MB of memory at S3's part size of 50 MiB."""

_USER = re.compile(
    r"(?<=://)[^/?#\s@:\[]*:(?!\d{1,5}(?:[/?#\s]|$))[^\s@]*@"  # user:password@, slashes and all; but not host:port/a@b
    r"|(?<=http://)[^/?#\s@]+@|(?<=https://)[^/?#\s@]+@"  # a token; elsewhere it is a name
)
_SIGNED = re.compile(
    r"(?i)(?<=[?&])(x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|googleaccessid|signature|sig"
    r"|token|access_token|password|api_?key)=[^&#\s\"']+"
)
_STALE = frozenset({"ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed"})
_CLIENTS = frozenset("botocore aiobotocore aiohttp azure gcsfs google huggingface_hub httpx requests fsspec".split())


class UrlError(ValueError):
    """An address that cannot be used as it is written; the message says what to write or install instead."""


class StoreError(OSError):
    """A store that does not answer, or no longer lets us in: no input's fault, so the job must stop."""

    NUMBER = getattr(errno, "EREMOTEIO", errno.EPROTO)
    """Its errno, by which it is known across processes; no disk and no socket of an input's own server gives it."""

    def __init__(self, message: str) -> None:
        super().__init__(self.NUMBER, message)

    def __str__(self) -> str:
        return str(self.strerror)

    def __reduce__(self) -> tuple[type[StoreError], tuple[str]]:
        return StoreError, (str(self),)


def redacted(text: str) -> str:
    """A text without the credentials of the addresses in it."""
    return _SIGNED.sub(r"\1=***", _USER.sub("", text))


def scheme(url: str) -> str:
    return url.split("://", 1)[0].lower() if "://" in url else ""


def store(url: str) -> str:
    """The object store of an address, by whose client it is spoken to: `s3`, `gs` or `az`; empty for anything else."""
    return "s3" if url.startswith(BUCKETS) else _STORES.get(scheme(url), "")


def checked(url: str) -> str:
    """The address itself.

    Raises:
        UrlError: it holds credentials.
    """
    if redacted(url) != url:
        raise UrlError(
            f"{redacted(url)}: an address must not hold credentials, since it is written into tables and logs; leave "
            "them to the standard chain (environment, ~/.aws or the like, the machine's role)"
        )
    return url


def open_filesystem(url: str) -> tuple[Any, str]:
    """The filesystem of an address with a scheme, and the file's name there.

    Raises:
        UrlError: it holds credentials, or nothing that is installed speaks its scheme.
    """
    kind = scheme(checked(url))
    try:
        if url.startswith(BUCKETS):
            from curate.buckets import buckets  # its client is an extra

            fs, path = buckets(url, **_options(store(url)))
        else:
            fs, path = fsspec.core.url_to_fs(url, **_options(store(url)))
    except ImportError as error:
        extra = "hf" if kind == "hf" else _STORES.get(kind)
        cure = f"pip install 'longtake[{extra}]'" if extra else str(error)
        raise UrlError(f"{url}: {kind}:// needs a package that is not installed; {cure}") from None
    except UrlError:
        raise
    except ValueError as error:
        raise UrlError(f"{url}: {error}") from None
    if store(url) == "s3":
        fs.retries = READS
    return fs, path


def _options(kind: str) -> dict[str, Any]:
    if not kind:
        return {}
    # A listing that is remembered is wrong as soon as another process writes, and all our writers are other processes.
    chosen: dict[str, Any] = {"use_listings_cache": False}
    if kind == "s3":
        own = dict(fsspec.config.conf.get("s3", {}).get("config_kwargs", {}))
        chosen["config_kwargs"] = {"retries": _retries(), "read_timeout": READ_S, **own}
    return chosen


@lru_cache(maxsize=1)
def _retries() -> dict[str, Any]:
    """botocore's `retries`, as far as the user's environment and ~/.aws/config leave them to us."""
    import botocore.session

    session = botocore.session.get_session()
    scoped = session.get_scoped_config()
    said = {"mode": "AWS_RETRY_MODE", "total_max_attempts": "AWS_MAX_ATTEMPTS"}
    ours: dict[str, Any] = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    in_file = {"mode": "retry_mode", "total_max_attempts": "max_attempts"}
    return {k: v for k, v in ours.items() if not os.environ.get(said[k]) and in_file[k] not in scoped}


@contextmanager
def plainly(url: str) -> Iterator[None]:
    """Turns what clients of stores raise into errors that say what is wrong with the store at `url`, and the cure.

    Raises:
        StoreError: the store did not answer in spite of all retries, or the credentials are no good, or no more.
    """
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        code, status = refusal(getattr(error.__cause__, "response", None))
        if code in _STALE:
            raise StoreError(f"{_place(url)}: {_said(error)}; renew the credentials and run it again") from None
        if (
            status == 429
            or status >= 500
            or code in ("SlowDown", "Throttling", "RequestTimeout")
            or isinstance(error, TimeoutError)
        ):
            raise StoreError(_away(url, error)) from None
        if code == "NoSuchBucket":
            raise FileNotFoundError(
                errno.ENOENT, "there is no such bucket; make it, or correct the name", url
            ) from None
        if isinstance(error, PermissionError) or str(error).startswith("Forbidden: "):  # as gcsfs says it
            message = (
                f"the store does not allow this ({_said(error)}); see which credentials are in use, and their policy"
            )
            raise PermissionError(errno.EACCES, message, url) from None
        raise
    except Exception as error:
        if type(error).__module__.split(".")[0] not in _CLIENTS:
            raise
        if "Credential" in type(error).__name__:
            cure = "set them in the environment (AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) or ~/.aws"
            if url.startswith(BUCKETS):
                cure = "put them under [hf] into ~/.aws/credentials"
            raise StoreError(f"{_place(url)}: {_said(error)}; {cure}") from None
        raise StoreError(_away(url, error)) from None


def refusal(answer: Any) -> tuple[str | None, int]:
    """Code and HTTP status of the answer behind an error: a dict of S3's client, an object of Azure's."""
    if isinstance(answer, Mapping):
        return answer.get("Error", {}).get("Code"), answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return None, getattr(answer, "status_code", 0)


def _place(url: str) -> str:
    return redacted(url).rstrip("/")


def _said(error: BaseException) -> str:
    return redacted(" ".join(str(error).split())) or type(error).__name__


def _away(url: str, error: BaseException) -> str:
    return (
        f"{_place(url)}: the store does not answer ({_said(error)}); see to the network and the endpoint "
        "(AWS_ENDPOINT_URL for S3), then run the same command again: what is done is kept"
    )


def read_whole(fs: Any, path: str) -> bytes:
    """A file's bytes, in one request where it is small."""
    file = RemoteFile(fs, path)
    return file.first if file.whole else file.readall()


def download(fs: Any, path: str, local: str) -> None:
    """Copy a file to a local disk. Each piece is as long as was asked for, or this raises."""
    file = RemoteFile(fs, path)
    with open(local, "wb") as target, plainly(fs.unstrip_protocol(path)):
        target.write(file.first)
        starts = range(len(file.first), file.size, PIECE)
        for at in range(0, len(starts), PARALLEL):
            some = list(starts[at : at + PARALLEL])
            ends = [min(start + PIECE, file.size) for start in some]
            pieces = fs.cat_ranges([path] * len(some), some, ends, on_error="raise")
            for piece, start, end in zip(pieces, some, ends, strict=True):
                _complete(path, piece, end - start)
                target.write(piece)


def _complete(path: str, piece: bytes, expected: int) -> None:
    if len(piece) != expected:
        raise StoreError(f"{path}: {len(piece)} bytes came of {expected}; was it replaced while it was read?")


class RemoteFile(io.RawIOBase):
    """A file of an object store for reading, with the piece that was read last at hand.

    `first` is what the first request brought, at most FIRST bytes; `whole` says whether that is all there is.
    """

    def __init__(self, fs: Any, path: str) -> None:
        self._fs, self._path, self._at = fs, path, 0
        with plainly(fs.unstrip_protocol(path)):
            try:
                self.first: bytes = fs.cat_file(path, start=0, end=FIRST)
            except FileNotFoundError:
                raise
            except Exception:
                if fs.size(path) != 0:  # a range of an empty file is an error to a store
                    raise
                self.first = b""
            self.whole = len(self.first) < FIRST
            self.size = len(self.first) if self.whole else int(fs.size(path))
        self._piece, self._from = self.first, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self.size - self._at)
        if wanted <= 0:
            return 0
        if self._at + wanted <= len(self.first):
            found = self.first[self._at : self._at + wanted]
        else:
            if not (self._from <= self._at and self._at + wanted <= self._from + len(self._piece)):
                self._next(wanted)
            found = self._piece[self._at - self._from :][:wanted]
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

    def _next(self, wanted: int) -> None:
        """Read a piece from where we are: a large one where the one before ended here, as who reads on will go on."""
        goes_on = self._at == self._from + len(self._piece)
        end = min(self.size, self._at + max(wanted, PIECE if goes_on else FIRST))
        with plainly(self._fs.unstrip_protocol(self._path)):
            piece = self._fs.cat_file(self._path, start=self._at, end=end)
        _complete(self._path, piece, end - self._at)
        self._piece, self._from = piece, self._at


class ArrowFiles(pyarrow.fs.FSSpecHandler):  # type: ignore[misc]
    """How Arrow reads a remote dataset: a small file is one request, and nothing is asked about a file before it."""

    def open_input_file(self, path: str) -> Any:
        return pyarrow.PythonFile(RemoteFile(self.fs, path), mode="r")

    open_input_stream = open_input_file
