"""Captions by a server that speaks OpenAI's chat completions: vLLM, SGLang, LMDeploy, `transformers serve` and others.

Pictures go as JPEG data URIs between the pieces of text, in order, so that the time written before a picture stays its
own on every server. A server is a stranger: what it sends is read up to a limit in bytes and in time, and only what is
a well-formed, non-empty answer becomes a `Reply`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import random
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from stages.caption.backends import wire
from stages.caption.backends.http import Connections, UnreachableError
from stages.caption.protocol import BackendError, NoReplyError, Reply, Request

LOG = logging.getLogger(__name__)
RETRIED = {408, 409, 425, 429, 500, 502, 503, 504}
"""Statuses that pass: the server is busy, starting or behind a proxy that lost it."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
"""Between attempts: at random up to the first, doubled each time up to the longest ("full jitter": Brooker, Exponential
Backoff and Jitter, AWS 2015). A server's Retry-After counts up to the longest."""

Outcome = Reply | NoReplyError | BackendError


class OpenAI(BaseModel):
    """How a served model is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

    url: str = Field("http://localhost:8000/v1", pattern=r"^https?://[^/\s]+(/\S*)?$", max_length=2000)
    """The server's address up to and with `/v1`; vLLM's own by default. Nothing else is spoken to: redirects are not
    followed. Proxies are taken from the environment (HTTPS_PROXY, NO_PROXY)."""
    model: str = Field("", max_length=500)
    """The model's name as the server knows it; it lists them at `/v1/models`."""
    key_variable: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Name of the environment variable that holds the key; none is sent otherwise. It must be set on each worker. The
    key itself stands in no recipe and no log."""
    concurrency: int = Field(16, ge=1, le=1024)
    """Questions under way at once. A served model batches them; more than its own `max_num_seqs` wait in its queue."""
    timeout_s: float = Field(300.0, gt=0, le=86400)
    """Longest an attempt may take from its first byte to the answer's last: 512 tokens at 5 a second take 100 s, and a
    full queue as long again."""
    attempts: int = Field(6, ge=1, le=100)
    """How often a question is put before it counts as unanswered. Waits of 0.5 to 16 s lie between six."""
    unreachable_s: float = Field(300.0, ge=0, le=86400)
    """How long nobody may answer at the address before captioning is given up: a large model takes minutes to start
    again. Failures to connect do not count as attempts."""
    requests_per_minute: float | None = Field(None, gt=0)
    """The server's limit; none for your own."""
    tokens_per_minute: float | None = Field(None, gt=0)
    """The server's limit on tokens in and out; what a question takes is guessed from those before, then corrected."""
    price_in: float | None = Field(None, ge=0)
    """Price of a million tokens in, in any currency; cost is told where both prices are given."""
    price_out: float | None = Field(None, ge=0)
    """Price of a million tokens out."""
    structured: Literal["auto", "off"] = "auto"
    """Whether the server is asked to keep to a question's JSON schema. `auto`: until it refuses."""
    logprobs: Literal["auto", "off"] = "auto"
    """Whether the tokens' probabilities are asked for, which give the confidence. `auto`: until the server refuses."""

    @field_validator("url")
    @classmethod
    def _no_secret(cls, url: str) -> str:
        if "@" in url.split("//", 1)[1].split("/", 1)[0] or "?" in url or "#" in url:
            raise ValueError("a URL without user, password and query; a key goes into an environment variable")
        return url.rstrip("/")


class Rate:
    """At most so many units a minute, evenly, after a first second's worth."""

    def __init__(self, per_minute: float | None) -> None:
        self._unit_s = 60 / per_minute if per_minute else 0.0
        self._free = 0.0

    async def take(self, units: float) -> None:
        """Wait until they may be spent. Negative units are given back."""
        if not self._unit_s:
            return
        now = time.monotonic()
        start = max(self._free, now - 1.0)
        self._free = start + units * self._unit_s
        if units > 0 and start > now:
            await asyncio.sleep(start - now)


class Server:
    """One pass of questions over one pool of connections. Lives in an event loop of its own."""

    def __init__(self, settings: OpenAI, key: str | None, known: wire.Known) -> None:
        self._settings, self._known, self._key = settings, known, key
        self._connections = Connections(f"{settings.url}/chat/completions", settings.concurrency, key)
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._requests, self._tokens = Rate(settings.requests_per_minute), Rate(settings.tokens_per_minute)
        self._usual_tokens: float | None = None
        self._not_before = 0.0
        self._silent_since: float | None = None

    async def close(self) -> None:
        await self._connections.close()

    async def ask(self, request: Request) -> Outcome:
        """The answer, after as many attempts as it takes."""
        why = "never asked"
        tried = waits = 0
        while tried < self._settings.attempts:
            wait = 0.0
            try:
                body = wire.body(request, self._settings.model, self._off())  # so that a free slot is filled at once
                async with self._slots:
                    await self._may_start(request)
                    reply = await self._fitting(request, body)
                self._silent_since, self._known.answered = None, True
                await self._count(reply, request)
                return wire.priced(reply, self._settings.price_in, self._settings.price_out)
            except UnreachableError as error:
                if self._given_up():
                    return BackendError(
                        f"{self._settings.url}: nobody has answered for {self._settings.unreachable_s:g} s "
                        f"({wire.shown(error)}); start the server, or correct openai.url"
                    )
            except wire.RefusedError as error:
                return self._refused(error)
            except (wire.BadReplyError, TimeoutError) as error:
                self._silent_since = None
                tried += 1
                why = (
                    f"no answer in {self._settings.timeout_s:g} s"
                    if isinstance(error, TimeoutError)
                    else self._safe(error)
                )
                wait = min(getattr(error, "retry_after_s", 0.0), LONGEST_WAIT_S)
                self._not_before = max(self._not_before, time.monotonic() + wait)
            waits += 1
            if tried < self._settings.attempts:
                jitter = random.uniform(0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(waits - 1, 10)))  # noqa: S311
                await asyncio.sleep(wait + jitter)
        return NoReplyError(f"{self._settings.url}: {tried} attempts failed, the last: {why}; see the server's log")

    async def _may_start(self, request: Request) -> None:
        while (pause := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        await self._requests.take(1)
        await self._tokens.take(self._expected(request))

    def _expected(self, request: Request) -> float:
        if self._usual_tokens is not None:
            return self._usual_tokens
        letters = sum(len(part) for part in request.parts if isinstance(part, str))
        return letters / 4 + request.most_tokens

    async def _count(self, reply: Reply, request: Request) -> None:
        if reply.prompt_tokens is None or reply.reply_tokens is None:
            return
        spent = reply.prompt_tokens + reply.reply_tokens
        expected = self._expected(request)
        self._usual_tokens = spent if self._usual_tokens is None else 0.8 * self._usual_tokens + 0.2 * spent
        await self._tokens.take(min(spent - expected, 0.0))

    def _given_up(self) -> bool:
        now = time.monotonic()
        self._silent_since = self._silent_since or now
        return now - self._silent_since >= self._settings.unreachable_s

    def _refused(self, error: wire.RefusedError) -> Outcome:
        """A refusal is everybody's where nothing was ever answered and the address, key or model may be wrong."""
        message = f"{self._settings.url}: {self._safe(error)}"
        if error.everybodys and not self._known.answered:
            return BackendError(f"{message}; correct openai.url, openai.model or openai.key_variable")
        return NoReplyError(message)

    def _safe(self, error: Exception) -> str:
        text = wire.shown(error)
        return text.replace(self._key, "(key)") if self._key else text

    def _off(self) -> set[str]:
        """Fields that are not sent to this server."""
        settings = {"response_format": self._settings.structured, "logprobs": self._settings.logprobs}
        return {name for name, setting in settings.items() if setting == "off"} | self._known.refused

    async def _fitting(self, request: Request, body: bytes) -> Reply:
        """The answer, asked for with what the server understands.

        A 400 or 422 may mean a field that it does not know, or this question. Only if it takes the same question
        without the field is that remembered.
        """
        off = self._off()
        optional = ["logprobs"] if request.schema is None else ["response_format", "logprobs"]
        left_out: set[str] = set()
        while True:
            try:
                reply = await self._attempt(body)
            except wire.RefusedError as error:
                message = str(error)
                fields = sorted(set(optional) - off - left_out, key=lambda n: (n not in message, optional.index(n)))
                if error.status not in (400, 422) or not fields:
                    raise
                left_out.add(fields[0])
                body = wire.body(request, self._settings.model, off | left_out)
                continue
            for name in left_out - self._known.refused:
                LOG.warning("%s refuses %s; it is asked without from now on", self._settings.url, name)
                self._known.refused.add(name)
            return reply

    async def _attempt(self, body: bytes) -> Reply:
        async with asyncio.timeout(self._settings.timeout_s):
            status, headers, text = await self._connections.post(body)
        if status in RETRIED or status >= 500:
            raise wire.BadReplyError(f"HTTP {status}: {wire.detail(text)}", wire.retry_after_s(headers))
        if status != 200:
            raise wire.RefusedError(f"HTTP {status}: {wire.detail(text)}", status)
        return wire.parsed(text)


class OpenAIBackend:
    """A captioner behind a server."""

    def __init__(self, settings: OpenAI) -> None:
        self._settings = settings
        self._known = wire.Known()

    @property
    def name(self) -> str:
        return f"openai:{self._settings.model}"

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[int, Reply | NoReplyError]]:
        """The answer to each request, in order of arrival. At most twice `concurrency` requests are held.

        Requests are drawn in the caller's thread; the network has one of its own, so preparing pictures does not keep
        the server waiting.
        """
        arrived: queue.SimpleQueue[tuple[int, Outcome]] = queue.SimpleQueue()
        numbered = enumerate(requests)
        held, more = 0, True
        with _Network(self._settings, self._known) as network:
            while more or held:
                if more and held < 2 * self._settings.concurrency:
                    drawn = next(numbered, None)
                    if drawn is None:
                        more = False
                    else:
                        network.start(drawn[0], drawn[1], arrived)
                        held += 1
                    if arrived.empty():
                        continue
                number, outcome = arrived.get()
                held -= 1
                if isinstance(outcome, BackendError):
                    raise outcome
                yield number, outcome


class _Network:
    """An event loop in a thread, with a `Server` that starts with the first question."""

    def __init__(self, settings: OpenAI, known: wire.Known) -> None:
        self._settings, self._known = settings, known
        self._server: Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="captions", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> _Network:
        self._thread.start()
        return self

    def start(self, number: int, request: Request, arrived: queue.SimpleQueue[tuple[int, Outcome]]) -> None:
        server = self._server or self._wait(self._connected())
        self._loop.call_soon_threadsafe(self._begin, server, number, request, arrived)

    def _begin(self, server: Server, number: int, request: Request, arrived: Any) -> None:
        async def ask() -> None:
            try:
                outcome = await server.ask(request)
            except Exception as error:  # of this code, not of the server: it must not leave the caller waiting
                LOG.exception("asking failed")
                outcome = BackendError(f"asking {self._settings.url} failed: {error!r}")
            arrived.put((number, outcome))

        task = self._loop.create_task(ask())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connected(self) -> Server:
        if not self._settings.model:
            raise BackendError("openai.model is not set; the server lists its models at /v1/models")
        variable, key = self._settings.key_variable, None
        if variable is not None:
            key = os.environ.get(variable, "").strip()
            if not key or not key.isascii() or not key.isprintable():
                raise BackendError(f"the environment variable {variable} holds no key; set it where the workers run")
        self._server = Server(self._settings, key, self._known)
        return self._server

    async def _closed(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.close()
        await self._loop.shutdown_asyncgens()

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def __exit__(self, *_: object) -> None:
        self._wait(self._closed())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
