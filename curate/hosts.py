"""A Dask scheduler on another host: reaching it, and what its user should know of it before work is handed over."""

from __future__ import annotations

import asyncio
import inspect
import logging
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import distributed
from distributed.versions import VersionMismatchWarning

from curate import tls
from curate.place import ClusterError, Place, beyond_loopback
from curate.work.context import VERSIONED

CONNECT_S = 30.0
"""Seconds in which a scheduler has to answer: one that has just been started takes ten."""
_DISTRIBUTION = "longtake"
_ALIKE = ("python", "dask", "distributed", *VERSIONED)
"""What may change results or the talk between processes; a difference is told, but not refused."""


class _Client(distributed.Client):
    """A client that ends its attempts to reconnect in silence: where the scheduler went away is ours to say."""

    async def _reconnect(self) -> None:
        with suppress(asyncio.CancelledError):
            # Dask wraps it in what logs the traceback of that very cancellation.
            await inspect.unwrap(distributed.Client._reconnect)(self)


def client(place: Place) -> distributed.Client:
    """A client of the place's scheduler.

    Raises:
        PlaceError: the files for TLS will not do.
        ClusterError: it cannot be reached.
    """
    security = place.security()
    # That a connection closed while a message was under way it logs as news, with the traceback; we say it in a line.
    logging.getLogger("distributed.batched").setLevel(logging.WARNING)

    def connected() -> distributed.Client:
        return _Client(place.address, timeout=CONNECT_S, security=security, set_as_default=False)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VersionMismatchWarning)  # `look` says it in a line
        try:
            try:
                return connected()
            except AssertionError:  # Dask's client expects one message first; a busy scheduler may send two together
                return connected()
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            raise ClusterError(f"no Dask scheduler answers at {place.scheduler}: {_why(place, error)}") from error


def _why(place: Place, error: Exception) -> str:
    try:
        host, port = distributed.comm.get_address_host_port(place.address or "")
    except ValueError:
        return str(error)
    return tls.why_not(host, port, place.tls) or str(error)


def look(client: distributed.Client, place: Place, warn: Callable[[str], None]) -> None:
    """See that all processes have the same Longtake, and warn of what else differs and of an open door.

    Raises:
        ClusterError: the scheduler or a worker has another Longtake, whose results would be others, or they are gone.
    """
    try:
        found: Any = client.get_versions(packages=[_DISTRIBUTION, *VERSIONED])
        _warn_of_exposure(client, place, warn)
    except (OSError, TimeoutError, distributed.CancelledError) as error:
        raise ClusterError(
            f"the Dask scheduler {place.scheduler} went away ({error}); run the same command again once it is back"
        ) from error
    ours = found["client"]["packages"]
    theirs = {f"the scheduler {place.scheduler}": found["scheduler"]["packages"]}
    theirs |= {f"worker {address}": said["packages"] for address, said in found["workers"].items()}
    for who, packages in theirs.items():
        if packages.get(_DISTRIBUTION) != ours[_DISTRIBUTION]:
            raise ClusterError(other_version(who, packages.get(_DISTRIBUTION), ours[_DISTRIBUTION]))
    for package in _ALIKE:
        others = [who for who, packages in theirs.items() if packages.get(package) != ours[package]]
        if others:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            has = theirs[others[0]].get(package) or "is not there"
            warn(
                f"{package} {has} on {others[0]}{more}, but {ours[package]} here: results may differ; "
                "install the same everywhere"
            )


def other_version(who: str, theirs: str | None, ours: str | None) -> str:
    """What is said of a process with another Longtake."""
    has = f"has longtake {theirs}" if theirs else "has no longtake installed"
    return f"{who} {has}, and here is {ours or 'a source tree'}: install the same there, start it anew, and run again"


def _warn_of_exposure(client: distributed.Client, place: Place, warn: Callable[[str], None]) -> None:
    """One line if others may speak to the scheduler in the clear, also where we reach it through loopback (a tunnel,
    `kubectl port-forward`) and it listens to everybody."""
    listening: list[str] = client.run_on_scheduler(_listening)
    contact: Mapping[str, Any] = client.scheduler_info(n_workers=0)
    for address in [*listening, contact["address"]]:
        if address.startswith(("tcp://", "ws://")) and beyond_loopback(address):
            warn(
                f"the Dask scheduler {place.scheduler} listens at {address} without encryption: whoever reaches that "
                "port can run code as you there and on every worker; start them with --protocol tls and the --tls-… "
                "options (README, On a cluster), or bind them to loopback with --host 127.0.0.1"
            )
            return


def _listening(dask_scheduler: distributed.Scheduler) -> list[str]:
    return [listener.listen_address for listener in dask_scheduler.listeners]
