"""Answers that are kept in the dataset by content, so that a run that is repeated or was killed asks nothing again."""

from __future__ import annotations

import json
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from itertools import count

from pydantic import TypeAdapter, ValidationError

from curate.keys import digest
from curate.stage import Workspace
from stages.caption.protocol import Backend, NoReplyError, Reply, Request

MOST_BYTES = 4 << 20
"""Of a kept answer; a larger file is none of ours."""
_REPLY = TypeAdapter(Reply)


class Cached:
    """A captioner whose answers are kept as `replies/ab/abcd….json`, under a digest of its name and the question.

    A kept answer is believed if it is whole: it names its key and has the digest that it states. An error is not kept.
    """

    def __init__(self, backend: Backend, work: Workspace) -> None:
        self._backend, self._work = backend, work

    @property
    def name(self) -> str:
        return self._backend.name

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[int, Reply | NoReplyError]]:
        """As the captioner does. What is kept is not asked (its reply says `cached`, with the tokens and cost of the
        first time); the same question asked twice at once is put once. An answer is kept before it is handed on."""
        kept: deque[tuple[int, Reply]] = deque()
        askers: dict[str, list[int]] = {}
        keys: dict[int, str] = {}
        numbers = count()

        def unanswered() -> Iterator[Request]:
            for number, request in enumerate(requests):
                key = digest([self.name, request.digest()])
                if key in askers:
                    askers[key].append(number)
                elif (reply := self._kept(key)) is not None:
                    kept.append((number, reply))
                else:
                    askers[key] = [number]
                    keys[next(numbers)] = key
                    yield request

        for number, outcome in self._backend.answer(unanswered()):
            key = keys.pop(number)
            if isinstance(outcome, Reply):
                self._keep(key, outcome)
            first, *others = askers.pop(key)
            yield first, outcome
            for other in others:
                yield other, replace(outcome, cached=True) if isinstance(outcome, Reply) else outcome
            while kept:
                yield kept.popleft()
        yield from kept

    def _kept(self, key: str) -> Reply | None:
        try:
            with self._work.fetch(_path(key)) as path, open(path, "rb") as file:
                data = file.read(MOST_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        try:
            told = json.loads(data)
            if told["key"] != key or told["digest"] != digest(told["reply"]):
                return None
            reply = _REPLY.validate_json(json.dumps(told["reply"]), strict=True)
        except (ValueError, LookupError, TypeError, RecursionError, ValidationError):
            return None  # torn, or not written by us: it is asked again and written over
        return replace(reply, cached=True) if reply.text.strip() else None

    def _keep(self, key: str, reply: Reply) -> None:
        values = asdict(reply)
        local = self._work.scratch / f"{uuid.uuid4().hex}.json"
        local.write_text(json.dumps({"key": key, "digest": digest(values), "reply": values}), encoding="utf-8")
        self._work.publish(local, _path(key))


def _path(key: str) -> str:
    return f"replies/{key[:2]}/{key}.json"
