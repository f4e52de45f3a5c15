"""How much of a served model's capacity the client uses: pictures become requests as fast as the server answers them.

The server, in a process of its own, reads a question's body whole, answers after a fixed time, and does at most as many
at once as there are slots: its capacity is slots / time. Pictures are JPEG bytes, encoded anew for each question.
In the same run a bare client that sends one body, prepared beforehand, over as many open sockets says what this machine
can carry at all. Aim: at least 0.9 of the capacity, or of what the bare client reaches where that is less.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table

from stages.caption.backends import wire
from stages.caption.backends.openai import OpenAI, OpenAIBackend
from stages.caption.protocol import Picture, Reply, Request

CHOICE = {"message": {"role": "assistant", "content": "It rains on the street."}, "finish_reason": "stop"}
ANSWER = json.dumps({"choices": [CHOICE], "usage": {"prompt_tokens": 900, "completion_tokens": 8}}).encode()
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER


class Model(asyncio.Protocol):
    """One connection to the served model. Bodies are counted, not kept."""

    def __init__(self, slots: asyncio.Semaphore, seconds: float) -> None:
        self._slots, self._seconds = slots, seconds
        self._head, self._missing = b"", 0
        self._busy: set[Any] = set()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            head, found, rest = (self._head + data).partition(b"\r\n\r\n")
            if not found:
                self._head = head
                return
            (size,) = (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            self._head, self._missing, data = b"", int(size.split(b":")[1]), rest
        self._missing -= len(data)
        if not self._missing:
            task = asyncio.ensure_future(self._answer())
            self._busy.add(task)
            task.add_done_callback(self._busy.discard)

    async def _answer(self) -> None:
        async with self._slots:
            await asyncio.sleep(self._seconds)
        self._transport.write(REPLY)


def serve(slots: int, seconds: float, ports: Any) -> None:
    async def main() -> None:
        free = asyncio.Semaphore(slots)
        server = await asyncio.get_running_loop().create_server(lambda: Model(free, seconds), "127.0.0.1", 0)
        ports.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


async def bare(port: int, slots: int, count: int, body: bytes) -> None:
    """The same body again and again over open connections."""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    left = iter(range(count))

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            writer.write(head)
            writer.write(body)
            await reader.readexactly(len(REPLY))
        writer.close()

    await asyncio.gather(*(one() for _ in range(slots)))


def questions(count: int, pictures: int, size: int) -> Iterator[Request]:
    jpegs = [os.urandom(size) for _ in range(pictures)]
    for number in range(count):
        parts: list[str | Picture] = [f"question {number}"]
        for second, jpeg in enumerate(jpegs):
            parts += [f"<{second}.0s>", Picture(jpeg, float(second))]
        yield Request(tuple(parts))


def main(
    slots: Annotated[int, typer.Option(help="Questions that the server answers at once.")] = 16,
    concurrency: Annotated[int, typer.Option(help="Questions that the captioner has under way.")] = 16,
    answer_ms: Annotated[float, typer.Option(help="Time of one answer.")] = 50.0,
    pictures: Annotated[int, typer.Option(help="Pictures in a question.")] = 8,
    kilobytes: Annotated[int, typer.Option(help="Size of a picture.")] = 40,
    count: Annotated[int, typer.Option(help="Questions in a round.")] = 1600,
    rounds: Annotated[int, typer.Option(help="Rounds of each client.")] = 3,
) -> None:
    ports: Any = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(slots, answer_ms / 1000, ports), daemon=True)
    server.start()
    port = ports.get()
    capacity = slots / answer_ms * 1000
    table = Table("client", "questions a second", "of capacity", "client's CPU ms a question", "server's")
    body = wire.body(next(questions(1, pictures, kilobytes * 1000)), "m", ())
    backend = OpenAIBackend(OpenAI(url=f"http://127.0.0.1:{port}/v1", model="m", concurrency=concurrency))

    def ours(count: int = count) -> None:
        outcomes = list(backend.answer(questions(count, pictures, kilobytes * 1000)))
        if len(outcomes) != count or not all(isinstance(reply, Reply) for _, reply in outcomes):
            raise SystemExit("not every question was answered")

    clients = {"bare": lambda: asyncio.run(bare(port, slots, count, body)), "captions": ours}
    processes = (psutil.Process(), psutil.Process(server.pid))
    ours(4 * slots)  # what is imported and set up once
    for _ in range(rounds):
        for name, client in clients.items():
            before = [sum(process.cpu_times()[:2]) for process in processes]
            began = time.monotonic()
            client()
            rate = count / (time.monotonic() - began)
            spent = [sum(p.cpu_times()[:2]) - cpu for p, cpu in zip(processes, before, strict=True)]
            costs = (f"{1000 * cpu / count:.2f}" for cpu in spent)
            table.add_row(name, f"{rate:.0f}", f"{rate / capacity:.2f}", *costs)
    server.terminate()
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
