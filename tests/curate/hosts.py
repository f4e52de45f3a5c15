"""A Dask cluster as the README's "On a cluster" makes it, by its very commands: on loopback, or on hosts of their own.

A host is a network namespace on a bridge, with its own home, temporary and working folder, that sees neither the
footage nor the client's folders.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distributed

from curate.place import Place

README = Path(__file__).parents[2] / "README.md"
HIDDEN = Path(os.environ.get("LONGTAKE_FOOTAGE", README.parents[1] / "shared"))


def commands() -> tuple[str, str, str, str]:
    """The README's lines: making certificates, scheduler, worker, run."""
    section = README.read_text().split("\n## On a cluster\n")[1].split("\n## ")[0]
    certificates, start = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    scheduler, worker, run = (line for line in start.splitlines() if not line.startswith("#"))
    return certificates, scheduler, worker, run


def authority(folder: Path) -> Path:
    """A folder with ca.pem, node.pem and node.key, made as the README says; the CA bears the folder's name, so that two
    can stand in one file."""
    folder.mkdir(parents=True)
    lines = commands()[0].replace("longtake CA", f"longtake CA {folder.name}")
    subprocess.run(["bash", "-ec", lines], cwd=folder, check=True, capture_output=True)
    return folder


def tls(folder: Path) -> dict[str, str]:
    """The three files as a `Place` takes them."""
    names = {"tls_ca_file": "ca.pem", "tls_cert": "node.pem", "tls_key": "node.key"}
    return {option: str(folder / name) for option, name in names.items()}


@contextmanager
def started(line: str, folder: Path, environment: Mapping[str, str] | None = None, host: str | None = None):
    """A command line of the README under way in a folder, where `dask` and `curate` are this environment's; its output
    goes to the folder's `log`. Killed with its children at the end."""
    programs = folder / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    for name, module in (("dask", "dask"), ("curate", "curate.cli")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        (programs / name).chmod(0o755)
    own = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(folder), "TMPDIR": str(folder / "tmp")}
    (folder / "tmp").mkdir(exist_ok=True)
    words = ["bash", "-c", line]
    if host:
        # The mounts are the namespace's: the footage and what lies beside this folder are not there.
        hide = f"mount -t tmpfs none {HIDDEN} && mount -t tmpfs none {folder.parent.parent / 'client'} && "
        words = ["ip", "netns", "exec", host, "bash", "-c", hide + line]
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(
            words, cwd=folder, env={**os.environ, **(environment or {}), **own}, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        # Dask's nanny ends its worker where it is asked to, but would outlive a shell that is killed.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until(condition: Callable[[], Any], seconds: float = 300) -> Any:
    ends = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < ends
        time.sleep(0.2)
    return found


@contextmanager
def client(place: Place) -> Iterator[distributed.Client]:
    """A client that only looks on, as soon as the scheduler answers."""
    found = []

    def there() -> bool:
        try:
            found.append(distributed.Client(place.address, security=place.security(), timeout=5, set_as_default=False))
        except OSError:
            return False
        return True

    until(there)
    with found[0] as made:
        yield made


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def possible() -> bool:
    """Whether this process may make hosts."""
    if os.geteuid() or not shutil.which("ip"):
        return False
    name = f"lt{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
    if made:
        _ip("netns", "del", name)
    return made


@dataclass(frozen=True)
class Network:
    """Hosts on a bridge, at which this process's own address ends with 1."""

    number: int

    @property
    def bridge(self) -> str:
        return f"ltb{self.number}"

    def name(self, host: int) -> str:
        return f"lt{self.number}h{host}"

    def address(self, host: int) -> str:
        return f"10.213.{self.number % 250}.{host}"

    def plug(self, host: int, state: str) -> None:
        """`up` or `down`: the host's cable."""
        _ip("link", "set", f"{self.name(host)}v", state)


@contextmanager
def network(hosts: range) -> Iterator[Network]:
    made = Network(os.getpid() % 10000)
    with ExitStack() as ends:
        _ip("link", "add", made.bridge, "type", "bridge")
        ends.callback(_ip, "link", "del", made.bridge)
        _ip("addr", "add", f"{made.address(1)}/24", "dev", made.bridge)
        _ip("link", "set", made.bridge, "up")
        for host in hosts:
            name, outside, inside = made.name(host), f"{made.name(host)}v", "eth0"
            _ip("netns", "add", name)
            ends.callback(_ip, "netns", "del", name)
            _ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
            _ip("link", "set", outside, "master", made.bridge, "up")
            _ip("-n", name, "addr", "add", f"{made.address(host)}/24", "dev", inside)
            for device in (inside, "lo"):
                _ip("-n", name, "link", "set", device, "up")
        yield made
