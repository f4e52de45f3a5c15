"""What a command costs: the CPU seconds and memory of all the processes that it starts. Linux only."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_PR_SET_CHILD_SUBREAPER = 36
SAMPLE_S = 0.2


@dataclass(frozen=True)
class Cost:
    """What a tree of processes used."""

    cpu_s: float
    """User and system seconds of every process of the tree."""
    peak_gib: float
    """Largest sum of the processes' proportional set sizes (shared pages counted once), sampled every 0.2 s."""
    code: int


def run(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its end, what it prints into `log`.

    This process becomes the reaper of all its descendants: one whose parent ended first is handed to it, not to
    init, so that the kernel's own count of what each used is complete when the last has ended.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    ended = threading.Event()
    peak = [0]

    def sample() -> None:
        while not ended.wait(SAMPLE_S):
            peak[0] = max(peak[0], sum(map(_proportional, psutil.Process().children(recursive=True))))

    with open(log, "wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **(environment or {})})
        sampler = threading.Thread(target=sample)
        sampler.start()
        cpu_s = 0.0
        while True:
            try:
                pid, status, used = os.wait4(-1, 0)
            except ChildProcessError:
                break
            cpu_s += used.ru_utime + used.ru_stime
            if pid == child.pid:
                child.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        sampler.join()
    return Cost(cpu_s, peak[0] / 2**30, child.returncode)


def _proportional(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def python(script: str, *arguments: str) -> str:
    """What a script prints when a fresh interpreter like this one runs it."""
    command = [sys.executable, script, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
