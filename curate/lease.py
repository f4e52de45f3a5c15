"""One writer to a dataset on an object store: a lease, an object that its holder keeps renewing.

The lease is made by a PUT that succeeds only where nothing is (`If-None-Match: *`), renewed and taken over by a PUT
that succeeds only on what was read (`If-Match` with its ETag). Who finds somebody's lease watches it: one that changes
has a living holder, and one that stayed the same for longer than its term, by the watcher's own monotonic clock, is
taken over. No two machines' clocks are compared, so that a clock that is wrong or jumps does no harm. A holder that
could not renew for a term, by a clock that goes on while the machine sleeps, has lost it and stops writing; the watcher
starts to count later than the holder, so that the holder has stopped when the other begins.

What a worker was writing at that moment may still arrive. It is a part named by its content, which the next run finds
done or drops.

Which stores can do that:

- S3 and what speaks its protocol since 2024 (AWS, Ceph, MinIO, R2, moto): both conditions.
- Google Cloud Storage: `ifGenerationMatch`, 0 for what must not be there.
- Azure Blob Storage: `If-None-Match: *` and `If-Match`.
- Hugging Face, HTTP and other read-only addresses cannot hold a dataset; a run that is to write there is refused.
- Others (`sftp://`, `hdfs://`, …) have no such write that fsspec offers: a run goes on and warns that it is unguarded.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Protocol

import fsspec.asyn

from curate.remote import OBJECT_STORES, StoreError, UrlError, open_filesystem, plainly, scheme

TERM_S = 60.0
"""How long a lease lasts without renewal. A store or a machine that stands still for half a minute costs no run; a run
that was killed keeps the next one waiting for a minute."""
RENEWALS = 6
"""Renewals a term: five may fail in a row. A second run sees within a sixth of a term that the first one lives."""
PATIENCE_S = 20.0
"""How long a store is asked for the lease before it counts as away; the client's own retries come on top."""
UNCLEAR = 5
"""Writes in a row whose answers may be lost before a renewal counts as failed."""
SIGNAL = signal.SIGUSR1
READ_ONLY = frozenset({"hf", "http", "https", "github", "git", "data"})
NAME = ".lease"

_log = logging.getLogger("curate.lease")
_tick: Callable[[], float] = (
    (lambda: time.clock_gettime(time.CLOCK_BOOTTIME)) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""The holder's clock, which goes on while the machine sleeps: others may have taken over then."""


class DatasetBusyError(Exception):
    """Two runs on one dataset at once."""


class LeaseLostError(DatasetBusyError):
    """The lease went away while it was held; nothing may be written any more."""


class Cell(Protocol):
    """One small object of a store, written only under a condition."""

    timeout_s: float
    """After which a request is given up."""

    def read(self) -> tuple[bytes, str] | None:
        """Its bytes and a tag that changes with every write; None: it is not there."""

    def write(self, data: bytes, tag: str | None) -> str | None:
        """Write it where it still has the tag (None: where it is not there).

        Returns:
            The new tag; None: it was not written.
        """


@contextmanager
def exclusive(url: str) -> Iterator[Callable[[], None]]:
    """Be the only writer to a remote dataset for as long as the block lasts.

    Yields:
        What to call before each write; it raises where the lease was lost.

    Raises:
        DatasetBusyError: another run holds it.
        LeaseLostError: it was lost; raised in the main thread at once, elsewhere by the next write or at the end.
        UrlError: the store cannot be written to.
    """
    kind = scheme(url)
    if kind in READ_ONLY:
        raise UrlError(
            f"{url}: a dataset cannot be written there, since nothing would keep two runs off each other; write to a "
            "local folder or to s3://, gs:// or az://, and upload it when it is done"
        )
    if kind in OBJECT_STORES:
        with Lease(url).held() as lease:
            yield lease.check
        return
    if kind != "memory":  # nobody else sees this process's memory
        _log.warning("%s: no lease can be held on %s://; see to it that no other run writes there", url, kind)
    yield lambda: None


def holder(url: str) -> str | None:
    """Who seems to hold a remote dataset, as text; None: nobody. A holder that was killed is told as well."""
    found = cell(url).read() if scheme(url) in OBJECT_STORES else None
    told = json.loads(found[0]) if found else {}
    return _who(told) if told.get("nonce") else None


class Lease:
    """A dataset's lease.

    Args:
        url: of the dataset.
        term_s: how long it lasts without renewal, seconds; who watches it uses the term that its holder wrote.
    """

    def __init__(self, url: str, term_s: float = TERM_S) -> None:
        self._url, self._term_s, self._every_s = url, term_s, term_s / RENEWALS
        self._cell = cell(url)
        self._me = {
            "nonce": secrets.token_hex(8),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "term_s": term_s,
        }
        self._turn = 0
        self._tag = ""
        self._renewed = 0.0
        self._lost: str | None = None
        self._ended = threading.Event()
        self._mutex = threading.Lock()
        self._tell: Callable[[], None] = lambda: None

    def check(self) -> None:
        """Raises LeaseLostError where the lease is not ours any more."""
        if self._lost is None and _tick() - self._renewed > self._term_s:
            self._lost = f"it could not be renewed for {self._term_s:g} s"
        if self._lost is not None:
            raise LeaseLostError(
                f"{self._url}: this run lost its lease on the dataset ({self._lost}) and stopped writing; "
                "what is done is kept: run it again when no other run is at work"
            )

    @contextmanager
    def held(self) -> Iterator[Lease]:
        """Take the lease, waiting for a dead holder's to run out, and renew it until the block ends.

        Raises:
            DatasetBusyError: its holder is alive.
            LeaseLostError: it was lost meanwhile.
            StoreError: the store does not answer.
        """
        self._take()
        self._cell.timeout_s = max(1.0, self._every_s)
        keeper = threading.Thread(target=self._keep, name="lease", daemon=True)
        try:
            with self._told():
                keeper.start()
                yield self
                self.check()
        finally:
            self._ended.set()
            if keeper.ident is not None:
                keeper.join()
            if self._lost is None:
                with suppress(OSError):  # then it runs out
                    self._put({"term_s": self._term_s})

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Have the main thread told of a loss wherever it is: a signal wakes it even where it waits for a lock."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(SIGNAL, lambda *_: self.check())
        self._tell = lambda: os.kill(os.getpid(), SIGNAL)
        try:
            yield
        finally:
            with self._mutex:
                self._tell = lambda: None
            signal.signal(SIGNAL, before)

    # -- taking ---------------------------------------------------------------------------------------------------

    def _take(self) -> None:
        seen: tuple[str, float] | None = None
        said = False
        while True:
            found = self._patiently(self._cell.read)
            told = json.loads(found[0]) if found else {}
            tag = found[1] if found else ""
            now = time.monotonic()
            free = not told.get("nonce")
            if not free:
                if seen is None:
                    seen = tag, now
                elif seen[0] != tag:
                    raise DatasetBusyError(
                        f"{self._url}: another run is writing to this dataset ({_who(told)}); wait for it, or choose "
                        "another -o"
                    )
                # A sixth more than the term, in which the holder notices that its own has run out.
                free = now - seen[1] > float(told["term_s"]) * (1 + 1 / RENEWALS)
                if not free and not said and now - seen[1] > 2 * float(told["term_s"]) / RENEWALS:
                    said = True
                    left = float(told["term_s"]) - (now - seen[1])
                    _log.warning("%s: held by %s, which shows no life; taken over in %.0f s unless it does",
                                 self._url, _who(told), left)  # fmt: skip
            if free:
                self._tag = tag
                if self._patiently(lambda: self._put(self._me)):
                    return
                seen = None  # somebody was faster
            time.sleep(min(1.0, self._every_s / 2))

    def _patiently(self, do: Callable[[], Any]) -> Any:
        """What `do` returns, tried again for a while: an address that nobody answers at is told soon."""
        began = time.monotonic()
        while True:
            try:
                return do()
            except StoreError:
                if time.monotonic() - began > PATIENCE_S:
                    raise
            time.sleep(0.5)

    def _put(self, what: dict[str, Any]) -> bool:
        """Write the lease where it is as we know it. Raises OSError where the store did not answer."""
        began = _tick()
        self._turn += 1
        data = json.dumps(what | {"turn": self._turn, "by": self._me["nonce"]}).encode()
        tag = self._tag
        for _ in range(UNCLEAR):
            made = self._cell.write(data, tag or None)
            if made is None:
                # A write whose answer was lost has changed the tag, so that its repetition is refused. It counts.
                found = self._cell.read()
                if found is None or json.loads(found[0]).get("by") != self._me["nonce"]:
                    return False
                tag = found[1]
                made = tag if found[0] == data else None
            if made is not None:
                self._tag, self._renewed = made, began
                return True
        raise StoreError(f"{self._url}: the store's answers about the lease do not come through")

    # -- keeping --------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        wait_s = self._every_s
        while not self._ended.wait(wait_s):
            try:
                if self._put(self._me):
                    wait_s = self._every_s
                    continue
                found = self._cell.read()
                told = json.loads(found[0]) if found else {}
                self._lost = f"{_who(told)} took it over" if told.get("nonce") else "it was removed"
            except Exception as error:  # whatever it is, the lease runs out, and the check below tells
                _log.info("%s: the lease was not renewed: %s", self._url, error)
                wait_s = self._every_s / 4
            try:
                self.check()
            except LeaseLostError:
                with self._mutex:
                    self._tell()
                return


def _who(told: dict[str, Any]) -> str:
    return f"process {told.get('pid')} on {told.get('host')}, since {told.get('since')}"


def cell(url: str, timeout_s: float = 30.0) -> Cell:
    """The lease object of a dataset, each of whose reads and writes takes `timeout_s` at most."""
    kind = OBJECT_STORES[scheme(url)]
    fs, root = open_filesystem(url)
    name = f"{root}/{NAME}"
    makers: dict[str, Callable[[Any, str, float], Cell]] = {"s3": _S3, "gs": _Gcs, "az": _Azure}
    return makers[kind](fs, name, timeout_s)


class _Cell:
    def __init__(self, fs: Any, path: str, timeout_s: float) -> None:
        self._fs, self._path, self.timeout_s = fs, path, timeout_s

    def _call(self, coroutine: Any) -> Any:
        """An asynchronous call of the store's client, given up after the timeout."""
        with plainly(self._fs.unstrip_protocol(self._path)):
            return fsspec.asyn.sync(self._fs.loop, lambda: coroutine, timeout=self.timeout_s)


class _S3(_Cell):
    def _ask(self, method: str, **more: Any) -> Any:
        bucket, key, _ = self._fs.split_path(self._path)
        return self._call(self._fs._call_s3(method, Bucket=bucket, Key=key, **more))

    def read(self) -> tuple[bytes, str] | None:
        bucket, key, _ = self._fs.split_path(self._path)

        async def get() -> tuple[bytes, str]:
            answer = await self._fs._call_s3("get_object", Bucket=bucket, Key=key)
            async with answer["Body"] as body:
                return await body.read(), answer["ETag"]

        try:
            return self._call(get())
        except FileNotFoundError:
            return None

    def write(self, data: bytes, tag: str | None) -> str | None:
        condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
        try:
            return str(self._ask("put_object", Body=data, **condition)["ETag"])
        except FileExistsError:
            return None
        except FileNotFoundError:
            if tag:
                return None
            raise
        except OSError as error:
            answer = getattr(error.__cause__, "response", None) or {}
            if answer.get("Error", {}).get("Code") in ("PreconditionFailed", "ConditionalRequestConflict"):
                return None
            raise


class _Gcs(_Cell):
    def _names(self) -> tuple[str, str]:
        bucket, key, _ = self._fs.split_path(self._path)
        return bucket, key

    def read(self) -> tuple[bytes, str] | None:
        bucket, key = self._names()

        async def get() -> tuple[bytes, str]:
            about = await self._fs._call("GET", "b/{}/o/{}", bucket, key, json_out=True)
            # Of a later generation by now, perhaps: a write on the one that was asked about fails then.
            _, body = await self._fs._call("GET", "b/{}/o/{}", bucket, key, alt="media")
            return body, str(about["generation"])

        try:
            return self._call(get())
        except FileNotFoundError:
            return None

    def write(self, data: bytes, tag: str | None) -> str | None:
        bucket, key = self._names()
        url = f"{self._fs._location}/upload/storage/v1/b/{bucket}/o"

        async def put() -> str:
            made = await self._fs._call(
                "POST", url, uploadType="media", name=key, ifGenerationMatch=tag or "0", data=data, json_out=True
            )
            return str(made["generation"])

        try:
            return self._call(put())
        except FileExistsError:
            return None


class _Azure(_Cell):
    def _blob(self) -> Any:
        container, blob, _ = self._fs.split_path(self._path)
        return self._fs.service_client.get_blob_client(container=container, blob=blob)

    def read(self) -> tuple[bytes, str] | None:
        from azure.core.exceptions import ResourceNotFoundError

        async def get() -> tuple[bytes, str]:
            async with self._blob() as blob:
                stream = await blob.download_blob()
                return await stream.readall(), stream.properties.etag

        try:
            return self._call(_or_none(get(), ResourceNotFoundError))
        except FileNotFoundError:
            return None

    def write(self, data: bytes, tag: str | None) -> str | None:
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError

        matching = {"etag": tag, "match_condition": MatchConditions.IfNotModified} if tag else {}

        async def put() -> str:
            async with self._blob() as blob:
                made = await blob.upload_blob(data, overwrite=tag is not None, **matching)
                return str(made["etag"])

        return self._call(_or_none(put(), ResourceExistsError, ResourceModifiedError, ResourceNotFoundError))


async def _or_none(coroutine: Any, *errors: type[Exception]) -> Any:
    try:
        return await coroutine
    except errors:
        return None
