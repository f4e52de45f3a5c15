"""The process in which media is opened: reads requests on standard input, answers on what was standard output.

`python -m curate.child BYTES` is started by `curate.sandbox`, which kills it when it hangs. It ends by itself when
its parent does.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import IO, Any

import av.logging
import cv2
import psutil

from curate import analyze, plugins
from curate.folder import fetched, storage_fault
from curate.media.probe import probe
from curate.sandbox import Tables, receive, send
from curate.stage import RowStage
from curate.workspace import alive, open_workspace

Progress = Callable[[float], None]
Answer = tuple[dict[str, Any], Tables]

PR_SET_PDEATHSIG = 1
"""Of prctl(2), from linux/prctl.h."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of mallopt(3), from malloc.h."""
LARGEST_KEPT, MOST_KEPT = 32 << 20, 128 << 20
"""Bytes: the largest threshold that glibc takes, which is above a picture of 3840x2160 with three bytes a pixel; and a
handful of those."""

BEAT_S = 0.5
"""Least time between two signs of life, seconds."""


def _probe(header: dict[str, Any], tables: Tables, progress: Progress) -> Answer:
    return {"probe": probe(header["path"], header.get("sound_only", False))}, {}


def _analyze(header: dict[str, Any], tables: Tables, progress: Progress) -> Answer:
    remote = header["source"]["path"]
    with ExitStack() as stack:
        with alive(progress, "://" in remote):
            path = stack.enter_context(fetched(remote))
        return analyze.analyze(path, header["source"], header["probes"], header["interval"], progress)


def _stage(header: dict[str, Any], tables: Tables, progress: Progress) -> Answer:
    stage = plugins.stage_class(header["stage"]).model_validate(header["parameters"])
    assert isinstance(stage, RowStage)  # noqa: S101 - for the type checker; the engine sends no other kind
    with open_workspace(header["dataset"], progress) as work:
        rows, failures = analyze.run_rows(stage, tables, work)
    return {"failures": failures}, {"rows": rows}


WORK: Mapping[str, Callable[[dict[str, Any], Tables, Progress], Answer]] = {
    "probe": _probe,
    "analyze": _analyze,
    "stage": _stage,
}


def main() -> None:
    """Serve requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get among the answers
    _limit(int(sys.argv[1]))
    if sys.platform == "linux":
        # The thread below does not run while a library keeps the interpreter to itself.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _keep_freed()
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    av.logging.set_level(None)
    cv2.setNumThreads(1)
    cv2.ocl.setUseOpenCL(False)
    read = _exact(sys.stdin.buffer)
    answer: dict[str, Any] = {"progress": 0.0}  # the start is over
    results: Tables = {}
    while True:
        try:
            send(answers, answer, results)
        except BrokenPipeError:
            return  # nobody is left to read it
        results = {}  # an hour's rows, of which the next request may bring another copy
        try:
            header, tables = receive(read)
        except EOFError:
            return
        _limit_cpu(header.pop("cpu_s"))
        try:
            answer, results = WORK[header.pop("work")](header, tables, _Heart(answers))
        except Exception as error:
            answer, results = {"error": describe(error)}, {}


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as JSON."""
    return {
        # NumPy and Arrow have subclasses of their own; the caller looks for one name.
        "kind": "MemoryError" if isinstance(error, MemoryError) else type(error).__name__,
        "message": str(error) or type(error).__name__,
        "trace": "".join(traceback.format_exception(error)),
        "number": storage_fault(error) or (error.errno if isinstance(error, OSError) else None),
    }


class _Heart:
    """Sends a sign of life at most every `BEAT_S` seconds."""

    def __init__(self, answers: IO[bytes]) -> None:
        self._answers = answers
        self._last = time.monotonic()

    def __call__(self, video_s: float) -> None:
        if time.monotonic() - self._last >= BEAT_S:
            self._last = time.monotonic()
            send(self._answers, {"progress": video_s}, {})


def _limit(memory: int) -> None:
    """Cap what the process may allocate beyond what its libraries have reserved at the start.

    Where the system has no such limit, the deadline alone protects.
    """
    if sys.platform == "linux":
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (psutil.Process().memory_info().data + memory, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _keep_freed() -> None:
    """Have the C library keep what pictures free for the next ones.

    By default each goes back to the system, which clears its pages anew for the next: up to a quarter of a decode's
    processor time. Not for a C library without mallopt(3), such as musl.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, MOST_KEPT)


def _limit_cpu(seconds: float | None) -> None:
    """Cap the processor time of the work in hand, of all threads together; the system kills the process beyond it."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if seconds is not None:
        wanted = math.ceil(time.process_time() + seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    else:
        resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))


def _end_with_parent(parent: int) -> None:
    """End when the process that started this one does, even if whoever has the work in hand never lets go of it."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _exact(file: IO[bytes]) -> Callable[[int], bytes]:
    def read(size: int) -> bytes:
        data = file.read(size)
        if len(data) < size:
            raise EOFError
        return data

    return read


if __name__ == "__main__":
    main()
