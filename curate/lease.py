"""One writer to a dataset on an object store: a lease, an object that its holder keeps renewing.

The lease is made by a PUT that succeeds only where nothing is (`If-None-Match: *`), renewed and taken over by a PUT
that succeeds only on what was read (`If-Match` with its ETag). Who finds somebody's lease watches it: one that changes
has a living holder, and one that stayed the same for longer than its term, by the watcher's own monotonic clock, is
taken over. No two machines' clocks are compared, so that a clock that is wrong or jumps does no harm. A holder that
could not renew for a term, by a clock that goes on while the machine sleeps, has lost it and stops writing; the watcher
starts to count later than the holder, so that the holder has stopped when the other begins.

What a worker was writing at that moment may still arrive. It is a part named by its content, which the next run finds
done or drops.
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
from typing import Any

from curate.cell import cell
from curate.remote import BUCKETS, StoreError, UrlError, scheme, store

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
READ_ONLY = frozenset({"http", "https", "github", "git", "data"})
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
    if store(url):
        with Lease(url).held() as lease:
            yield lease.check
        return
    if kind == "hf":
        raise UrlError(
            f"{url}: a dataset cannot be written there, for each of a run's many files would be a commit, and the Hub "
            f"counts those by the hour; write to {BUCKETS}NAMESPACE/BUCKET/NAME or elsewhere, and publish it by "
            "`curate push`"
        )
    if kind in READ_ONLY:
        raise UrlError(
            f"{url}: a dataset cannot be written there, since nothing would keep two runs off each other; write to a "
            "local folder or to s3://, gs:// or az://, and upload it when it is done"
        )
    if kind != "memory":  # nobody else sees this process's memory
        _log.warning("%s: no lease can be held on %s://; see to it that no other run writes there", url, kind)
    yield lambda: None


def holder(url: str) -> str | None:
    """Who seems to hold a remote dataset, as text; None: nobody. A holder that was killed is told as well."""
    found = cell(url, NAME).read() if store(url) else None
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
        self._cell = cell(url, NAME)
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
