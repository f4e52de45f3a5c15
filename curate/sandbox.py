"""Runs media work in a child process with a deadline and a memory cap.

libav can crash on a damaged file, and can seek or decode for ever; no `try` survives that. So a worker keeps one
child that does all its media work, kills it when it hangs or outgrows its cap, and starts another.
Requests and answers are a JSON header and Arrow tables: what comes back from a child is never unpickled.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

import pyarrow as pa

START_S = 600.0
"""Longest time that a child may take to start, seconds. Its libraries load in 2; on a machine with thirty times as many
processes as cores they have taken two minutes. That is nothing of a source, so the limit on stalls is not for it."""

_LENGTHS = struct.Struct("<QI")  # header bytes, number of tables


class ChildDiedError(Exception):
    """The child was killed, by the system or by its own limits."""


class ChildRaisedError(Exception):
    """The work in the child raised; `kind`, `trace` and `number` are the exception's class, traceback and errno."""

    def __init__(self, kind: str, message: str, trace: str, number: int | None) -> None:
        super().__init__(message)
        self.kind, self.trace, self.number = kind, trace, number


Tables = dict[str, pa.Table]


def send(file: IO[bytes] | _Pipe, header: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> None:
    """Write one message."""
    head = json.dumps(header).encode()
    file.write(_LENGTHS.pack(len(head), len(tables)) + head)
    for name, table in tables.items():
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        body = sink.getvalue()
        encoded = name.encode()
        file.write(_LENGTHS.pack(body.size, len(encoded)) + encoded)
        file.write(memoryview(body))
    file.flush()


def receive(read: Callable[[int], bytes | bytearray]) -> tuple[dict[str, Any], Tables]:
    """Read one message; `read(n)` returns exactly n bytes or raises EOFError."""
    size, count = _LENGTHS.unpack(read(_LENGTHS.size))
    header = json.loads(read(size))
    tables: Tables = {}
    for _ in range(count):
        body_size, name_size = _LENGTHS.unpack(read(_LENGTHS.size))
        name = read(name_size).decode()
        tables[name] = pa.ipc.open_stream(pa.py_buffer(read(body_size))).read_all()
    return header, tables


def understood(read: Callable[[int], bytes | bytearray]) -> tuple[dict[str, Any], Tables]:
    """Read one message of a child, whose memory a damaged file may have overwritten.

    Raises:
        EOFError: it ended.
        ChildDiedError: what it says is no message.
    """
    try:
        header, tables = receive(read)
        if isinstance(header, dict):
            return header, tables
    except (ValueError, RecursionError, OverflowError, MemoryError, OSError, pa.ArrowException):
        pass
    raise ChildDiedError("gave an answer that cannot be read")


class Sandbox:
    """One child at a time, restarted after it dies. For use by one thread."""

    def __init__(self, memory_gib: float, stall_s: float) -> None:
        self._memory = int(memory_gib * 2**30)
        self._stall_s = stall_s
        self._started = False
        self._child: subprocess.Popen[bytes] | None = None

    def call(
        self,
        work: str,
        header: Mapping[str, Any],
        tables: Mapping[str, pa.Table] | None = None,
        deadline_s: float = float("inf"),
        progress: Callable[[float], None] | None = None,
    ) -> tuple[dict[str, Any], Tables]:
        """Have the child do `work` (a function of `curate.child`) and return its answer.

        Raises:
            ChildRaisedError: the work raised.
            ChildDiedError: the child crashed, hung for longer than the stall limit, took longer than `deadline_s`,
                or ran out of memory.
        """
        child = self._running()
        end = time.monotonic() + deadline_s
        try:
            assert child.stdin is not None  # noqa: S101 - for the type checker; Popen was given a pipe
            stdin = _Pipe(child.stdin.fileno(), lambda pipe: self._wait(pipe, select.POLLOUT, end))
            # Our clock stops a child that is late; the system's stops one that outlives us.
            cpu_s = None if math.isinf(deadline_s) else deadline_s * (os.cpu_count() or 1)
            send(stdin, {"work": work, "cpu_s": cpu_s, **header}, tables or {})
            while True:
                answer, answers = understood(lambda n: self._read(child, n, end))
                self._started = True
                if "progress" in answer:
                    if progress:
                        progress(answer["progress"])
                    continue
                if "error" in answer:
                    error = answer["error"]
                    if error["kind"] == "MemoryError":
                        self.close()
                        raise ChildDiedError(f"ran out of its memory limit of {self._memory / 2**30:g} GiB")
                    raise ChildRaisedError(error["kind"], error["message"], error["trace"], error["number"])
                return answer, answers
        except (EOFError, BrokenPipeError):
            raise ChildDiedError(self._why_dead(child)) from None
        except _TooLateError as late:
            self.close()
            raise ChildDiedError(str(late)) from None
        except ChildRaisedError:
            raise
        except BaseException:
            self.close()  # an interrupted conversation cannot be taken up again
            raise

    def close(self) -> None:
        """Kill the child, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except BrokenPipeError:
                        continue

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self.close()
        self._started = False
        self._child = subprocess.Popen(
            # -P: no module is taken from the folder that the user happens to stand in
            [sys.executable, "-P", "-m", "curate.child", str(self._memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        return self._child

    def _read(self, child: subprocess.Popen[bytes], wanted: int, end: float) -> bytearray:
        assert child.stdout is not None  # noqa: S101 - for the type checker
        descriptor = child.stdout.fileno()
        data = bytearray()  # grows in place: parts to be joined would be rows of hours of video twice
        while len(data) < wanted:
            self._wait(descriptor, select.POLLIN, end)
            part = os.read(descriptor, min(wanted - len(data), 1 << 20))
            if not part:
                raise EOFError
            data += part
        return data

    def _wait(self, descriptor: int, event: int, end: float) -> None:
        """Wait until a pipe can be read or written, or is broken."""
        left = end - time.monotonic()
        patience = self._stall_s if self._started else max(self._stall_s, START_S)
        if left > 0:
            poll = select.poll()
            poll.register(descriptor, event)
            if poll.poll(math.ceil(min(patience, left) * 1000)):
                return
        raise _TooLateError(
            f"made no progress for {patience:g} s" if left > patience else "took longer than its deadline"
        )

    def _why_dead(self, child: subprocess.Popen[bytes]) -> str:
        try:
            code = child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            code = 0
        self.close()
        if code < 0:
            return f"crashed with {signal.Signals(-code).name}"
        return f"ended with status {code}"


class _Pipe:
    """A child's standard input. A child that does not read is waited for as long as `wait` allows."""

    def __init__(self, descriptor: int, wait: Callable[[int], None]) -> None:
        self._descriptor, self._wait = descriptor, wait
        os.set_blocking(descriptor, False)

    def write(self, data: bytes | memoryview) -> None:
        left = memoryview(data)
        while left:
            self._wait(self._descriptor)
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                continue

    def flush(self) -> None:
        """Nothing is held back."""


class _TooLateError(Exception):
    """A limit on time was reached."""


_local = threading.local()


def for_this_thread(memory_gib: float, stall_s: float) -> Sandbox:
    """The calling thread's sandbox, kept from task to task so that the child's start is paid once."""
    limits = (memory_gib, stall_s)
    if getattr(_local, "limits", None) != limits:
        if hasattr(_local, "sandbox"):
            _local.sandbox.close()
        _local.limits, _local.sandbox = limits, Sandbox(memory_gib, stall_s)
    sandbox: Sandbox = _local.sandbox
    return sandbox
