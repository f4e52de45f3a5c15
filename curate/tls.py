"""TLS of a Dask cluster: whether files will do before they are used, and why a scheduler cannot be reached by them.

Dask has one private certificate authority (CA) for a cluster; whoever shows a certificate of it may run code there.
So both sides show one, and names in it do not matter.
"""

from __future__ import annotations

import os
import socket
import ssl
import stat
from pathlib import Path

PROBE_S = 5.0
"""Seconds that a scheduler may take to say how it wants to be spoken to; one that is there does in milliseconds."""
_OTHERS = stat.S_IRWXO | stat.S_IWGRP
"""A group may read a key, as Debian's `ssl-cert` and a volume of Kubernetes have it."""


class TlsError(ValueError):
    """Files that no TLS connection can be made with; the message names the file and the cure."""


def check(ca_file: str, cert: str, key: str) -> None:
    """Look at the files of a client as the other side will.

    Args:
        ca_file: certificate of the cluster's CA, PEM.
        cert: certificate signed by it, PEM.
        key: private key of that certificate, PEM without a passphrase.

    Raises:
        TlsError: what is wrong with which.
    """
    for option, path, holds in (
        ("--tls-ca-file", ca_file, "CERTIFICATE"),
        ("--tls-cert", cert, "CERTIFICATE"),
        ("--tls-key", key, "PRIVATE KEY"),
    ):
        try:
            text = Path(path).read_bytes()
        except OSError as error:
            raise TlsError(f"{option} {path}: {error.strerror}") from error
        if f"{holds}-----".encode() not in text:
            raise TlsError(f"{option} {path}: holds no {holds} in PEM; convert it with openssl")
    if b"ENCRYPTED" in text:
        raise TlsError(f"--tls-key {key}: has a passphrase, which Dask cannot ask for; openssl pkey takes it off")
    if os.stat(key).st_mode & _OTHERS:
        raise TlsError(
            f"--tls-key {key}: others on this machine may read or change it, and so run code on the cluster; "
            f"chmod 600 {key}, and if it lay there for long make a new one"
        )
    server = _context(ssl.PROTOCOL_TLS_SERVER, ca_file, cert, key)
    client = _context(ssl.PROTOCOL_TLS_CLIENT, None, cert, key)
    try:
        _shake_hands(client, server)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in (9, 10):  # not yet valid, expired
            cure = "make a new one, and look at the clock"
        else:
            cure = f"it has to be signed by --tls-ca-file {ca_file}"
        raise TlsError(f"--tls-cert {cert}: {error.verify_message}; {cure}") from error
    except ssl.SSLError as error:
        raise TlsError(f"--tls-cert {cert}: {error.reason or error}") from error


def why_not(host: str, port: int, tls: tuple[str, str, str] | None) -> str:
    """Why Dask could not connect to a scheduler, in words with the cure, by knocking at it ourselves.

    Args:
        host, port: the scheduler's.
        tls: CA, certificate and key, if it was to be spoken to by TLS.
    """
    try:
        speaks = _hello(host, port, None)
        if not speaks:
            return "it does not speak TLS: start it with --protocol tls and the --tls-… options" if tls else ""
        if tls is None:
            return "it speaks TLS: its address is tls://…, and --tls-ca-file, --tls-cert and --tls-key go with it"
        _hello(host, port, tls)
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is none of --tls-ca-file {tls[0] if tls else ''}: {error.verify_message}"
    except ssl.SSLError:
        pass
    except OSError as error:
        return f"{error.strerror or error}; is it started, and does no firewall stand between?"
    return f"it refuses the certificate {tls[1]}: it was started with another CA" if tls else ""


def _context(protocol: int, ca_file: str | None, cert: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if ca_file else ssl.CERT_NONE
    try:
        context.load_cert_chain(cert, key)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError(f"--tls-key {key}: is not the key of --tls-cert {cert}") from error
        raise TlsError(f"--tls-cert {cert}, --tls-key {key}: damaged ({error.reason or error})") from error
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except ssl.SSLError as error:
            raise TlsError(f"--tls-ca-file {ca_file}: damaged ({error.reason or error})") from error
    return context


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """The handshake of two ends in memory.

    Raises:
        ssl.SSLError: one end does not trust the other.
    """
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = {client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)}
    while ends:
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                continue


def _hello(host: str, port: int, tls: tuple[str, str, str] | None) -> bool:
    """Whether a server answers to TLS; with files, it has to show a certificate of our CA.

    Raises:
        OSError: nobody is there, or (`ssl.SSLError`) it shows another certificate.
    """
    with socket.create_connection((host, port), PROBE_S) as bare:
        if tls:
            context = _context(ssl.PROTOCOL_TLS_CLIENT, *tls)
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with context.wrap_socket(bare):
                return True
        except ssl.SSLCertVerificationError:
            raise
        except ssl.SSLError as error:
            # An alert comes from who speaks TLS, and wants a certificate before anything else.
            return "ALERT" in (error.reason or "")
        except OSError:  # hung up on us, or waits for words in the clear
            return False
