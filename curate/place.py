"""Where the work is done: on this machine's cores, or by the workers of a Dask scheduler, spoken to by TLS or not."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from curate import tls

if TYPE_CHECKING:  # half a second, which verbs that hand nothing over need not wait
    import distributed

_ENCRYPTED = ("tls", "wss")
"""Dask's protocols that a certificate protects."""


class ClusterError(Exception):
    """No workers to be had, or none that can do the work."""


class PlaceError(ClusterError, ValueError):
    """A place that cannot be; the message names the option and the cure."""


@dataclass(frozen=True)
class Place:
    """This machine's cores, unless there is a scheduler.

    Raises:
        PlaceError: options that do not go together.
    """

    scheduler: str | None = None
    """Address such as `tls://10.0.0.5:8786`; None starts a local cluster, which listens on 127.0.0.1 only."""
    workers: int | None = None
    """Processes of the local cluster, by default one for each core."""
    tls_ca_file: str | None = None
    """Certificate of the cluster's own certificate authority, PEM. These three are named as Dask's options are; where
    they are left out, those of Dask's configuration (`distributed.comm.tls`) are used."""
    tls_cert: str | None = None
    """Our certificate, signed by it, PEM."""
    tls_key: str | None = None
    """The private key of our certificate, PEM."""

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in ("tls_ca_file", "tls_cert", "tls_key")}
        missing = [_option(name) for name, value in given.items() if value is None]
        if len(missing) == len(given):
            return
        if missing:
            raise PlaceError(f"{' and '.join(missing)} missing: a TLS connection takes all of {_all(given)}")
        if self.scheduler is None:
            raise PlaceError(
                f"{_all(given)} go with --scheduler tls://…; the local cluster listens on 127.0.0.1 only and needs none"
            )
        scheme = self.scheme
        if scheme and scheme not in _ENCRYPTED:
            raise PlaceError(
                f"--scheduler {self.scheduler}: {scheme}:// is not encrypted, so {_all(given)} would not be used; "
                "start the scheduler with --protocol tls and give its address as tls://…"
            )

    @property
    def scheme(self) -> str:
        """Protocol of the scheduler's address; empty where it names none."""
        return (self.scheduler or "").rpartition("://")[0]

    @property
    def address(self) -> str | None:
        """The scheduler's address as Dask wants it: with files for TLS, one without a protocol is `tls://`."""
        bare = self.scheduler and not self.scheme
        return f"tls://{self.scheduler}" if bare and self.tls_cert else self.scheduler

    @property
    def tls(self) -> tuple[str, str, str] | None:
        """CA, certificate and key to speak to the scheduler with, looked at.

        Raises:
            PlaceError: the scheduler wants some and there are none, or they will not do.
        """
        if self.address is None or not self.address.startswith(tuple(f"{scheme}://" for scheme in _ENCRYPTED)):
            return None
        import dask
        import distributed  # noqa: F401 - brings the defaults of its part of the configuration

        known = dask.config.get("distributed.comm.tls")
        ca_file = self.tls_ca_file or known["ca-file"]
        cert = self.tls_cert or known["client"]["cert"]
        key = self.tls_key or known["client"]["key"]
        if not (ca_file and cert and key):
            raise PlaceError(
                f"--scheduler {self.scheduler}: TLS takes --tls-ca-file, --tls-cert and --tls-key: "
                "the cluster's CA, and a certificate signed by it with its key"
            )
        try:
            tls.check(ca_file, cert, key)
        except tls.TlsError as error:
            raise PlaceError(str(error)) from error
        return ca_file, cert, key

    def security(self) -> distributed.Security | None:
        """What Dask's client takes; None where nothing is encrypted.

        Raises:
            PlaceError: as of `tls`.
        """
        files = self.tls
        if files is None:
            return None
        import distributed

        ca_file, cert, key = files
        return distributed.Security(
            require_encryption=True, tls_ca_file=ca_file, tls_client_cert=cert, tls_client_key=key
        )

    def options(self) -> list[str]:
        """As words of a command line of `curate`."""
        words = []
        for item in fields(self):
            value = getattr(self, item.name)
            words += [_option(item.name), str(value)] if value is not None else []
        return words

    def absolute(self) -> Place:
        """The same, whatever the working folder."""
        ca_file, cert, key = (
            path and str(Path(path).absolute()) for path in (self.tls_ca_file, self.tls_cert, self.tls_key)
        )
        return replace(self, tls_ca_file=ca_file, tls_cert=cert, tls_key=key)


def beyond_loopback(address: str) -> bool:
    """Whether an address is one that other machines may reach, or one that listens to them."""
    from distributed.comm import get_address_host

    host = get_address_host(address)
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return True
    return not all(ipaddress.ip_address(str(ip).partition("%")[0]).is_loopback for ip in found)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _all(names: dict[str, str | None]) -> str:
    *first, last = map(_option, names)
    return f"{', '.join(first)} and {last}"


LOCAL = Place()
"""All cores of this machine."""
