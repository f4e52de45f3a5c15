"""A model's captions of a source's tree, bottom-up: what has no parts is looked at, the rest is told from its parts.

Each node is a small conversation (a generator that yields requests and is sent replies); those of a level go on at
once, and their requests are made only when the backend draws them, so that few pictures are held.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from itertools import count
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from curate.keys import digest
from curate.stage import Failure, Row
from schemas import captions
from schemas.tree import LEVELS
from stages.caption import auxiliary, prompts
from stages.caption.frames import Frames, Span, zoom
from stages.caption.protocol import Backend, NoReplyError, Reply, Request
from stages.caption.sight import Look, Sight
from stages.caption.witness import disagreement

Check = Callable[[Row, Row, Mapping[str, Any]], list[str]]
"""(node, row of `captions`, {"parent": row or None, "children": rows}) -> what is wrong, each as `check: why`."""
Talk = Generator[Request, Reply | NoReplyError, Row]


class Describing(BaseModel):
    """How a model is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    frames: Frames = Frames()
    """Which pictures it is shown."""
    instruction: str = Field("", max_length=4000)
    """Of yours, put before every question."""
    asks: int = Field(2, ge=0, le=8)
    """How often more it is asked where a check fails; most of what is ever repaired is at the first."""
    layers: bool = False
    """Ask for the refined, the rewritten and the short text each by itself, as LVD-2M does, at four times the cost."""
    facts_tokens: int = Field(600, ge=0, le=100_000)
    """Of what was measured, spoken and read in the span, in the prompt."""
    context_tokens: int = Field(200, ge=0, le=100_000)
    """Of what the span is part of, or of the summary so far."""
    parts_tokens: int = Field(3000, ge=100, le=100_000)
    """Of the captions of its parts in one question; more parts take more questions, each with the summary so far."""
    reply_tokens: int = Field(768, ge=16, le=32_768)
    """Of an answer."""


@dataclass
class _Asked:
    """What a node's conversation has seen."""

    requests: list[str] = dataclass_field(default_factory=list)
    looks: set[float] = dataclass_field(default_factory=set)
    by: str | None = None


def describe(
    nodes: Sequence[Row], sight: Sight, backend: Backend, how: Describing, check: Check, told: Mapping[str, Row]
) -> Iterator[Row | Failure]:
    """Rows of `captions` for `nodes` (rows of `tree`), level by level from clips up, each level in the order given.

    A node without an answer is a `Failure` with its take's id, or above the shot, where there is none, a row without
    text; what lies above goes on without it and is flagged `incomplete`.

    Args:
        told: captions that there are already, by node_id, such as the grounded ones: those of nodes not in `nodes`
            stand as they are, and that of a parent is what its parts are told to be part of.

    Raises:
        BackendError: no question can be answered.
    """
    mine = {node["node_id"] for node in nodes}
    given = {node_id: row for node_id, row in told.items() if node_id not in mine}
    done = {node_id: row for node_id, row in given.items() if row["text"]}
    parts: dict[str, list[Row]] = {}
    for node in [*nodes, *given.values()]:
        parts.setdefault(node["parent_id"], []).append(node)
    for level in LEVELS:
        rows: dict[str, Row | NoReplyError] = {}
        here = [node for node in nodes if node["level"] == level]

        def talks(here: Sequence[Row] = here) -> Iterator[tuple[Row, Talk]]:
            for node in here:
                below = sorted(parts.get(node["node_id"], []), key=lambda part: part["start_s"])
                children = [done[part["node_id"]] for part in below if part["node_id"] in done]
                parent = told.get(node["parent_id"] or "")
                yield node, _Talk(node, children, len(below), parent, sight, how, check, backend.name).run()

        for node, row in _answered(talks(), backend):
            rows[node["node_id"]] = row
        for node in here:
            row = rows[node["node_id"]]
            if isinstance(row, NoReplyError):
                if node["clip_id"] is not None:
                    yield Failure(node["clip_id"], row)
                    continue
                yield _row(node, {}, backend.name, [f"reply: {prompts.clean(str(row), 200)}"])
                continue
            if row["text"] is not None:
                done[node["node_id"]] = row
            yield row


def _answered(talks: Iterator[tuple[Row, Talk]], backend: Backend) -> Iterator[tuple[Row, Row | NoReplyError]]:
    """Each node's row as its conversation ends. What follows on an answer is asked before a new one begins."""
    waiting: deque[tuple[Row, Talk, Request]] = deque()
    ended: deque[tuple[Row, Row | NoReplyError]] = deque()
    more = True

    def go(node: Row, talk: Talk, reply: Reply | NoReplyError | None) -> None:
        try:
            waiting.append((node, talk, talk.send(reply)))  # type: ignore[arg-type]
        except StopIteration as stop:
            ended.append((node, stop.value))
        except NoReplyError as error:
            ended.append((node, error))

    while more or waiting:
        asked: dict[int, tuple[Row, Talk]] = {}
        numbers = count()

        def drawn(asked: dict[int, tuple[Row, Talk]] = asked, numbers: Iterator[int] = numbers) -> Iterator[Request]:
            nonlocal more
            while True:
                if not waiting:
                    begun = next(talks, None)
                    if begun is None:
                        more = False
                        return
                    go(*begun, None)
                    continue
                node, talk, request = waiting.popleft()
                asked[next(numbers)] = node, talk
                yield request

        for number, reply in backend.answer(drawn()):
            go(*asked.pop(number), reply)
            while ended:
                yield ended.popleft()
        while ended:
            yield ended.popleft()


def _row(node: Row, fields: Row, model: str, flags: Sequence[str]) -> Row:
    """A complete row of `captions`."""
    of = {name: node[name] for name in ("source_id", "node_id", "parent_id", "clip_id", "level", "start_s", "end_s")}
    rest = {"facts": node["facts"], "model": model, "attempts": 0, "flags": list(flags)}
    return dict.fromkeys(captions.TABLE.schema.names) | fields | of | rest


@dataclass
class _Talk:
    """The conversation about one node."""

    node: Row
    children: Sequence[Row]
    parts: int
    parent: Row | None
    sight: Sight
    how: Describing
    check: Check
    model: str
    asked: _Asked = dataclass_field(default_factory=_Asked)
    last: Sequence[str] = ()
    """What the last question about the whole span was told."""

    def run(self) -> Talk:
        """The node's row.

        Raises:
            NoReplyError: there was never an answer.
        """
        how, span = self.how, (self.node["start_s"], self.node["end_s"])
        if self.children:
            best, ask = (yield from self._told()), self._whole
        else:
            look = self.sight.look(span, self._about(), glance=how.frames.rounds > 0)
            if not look.pictures:
                return _row(self.node, {}, self.model, ["pictures: no still lies in the span"])
            if how.frames.strategy == "differential":
                best, ask = (yield from self._changes(look)), self._whole
            else:
                best = yield from self._ask(prompts.LOOK, self._known(), look)
                best, look = yield from self._zoomed(best, look, span)

                def ask(complaints: Sequence[str], asking: int, look: Look = look) -> Generator[Request, Any, Row]:
                    return self._ask(prompts.LOOK, self._known(), look, complaints, asking)

        for asking in range(1, how.asks + 1):
            if not best["flags"]:
                break
            best = yield from self._better(best, ask(best["flags"], asking))
        if how.layers and best["raw"]:
            best = yield from self._layered(best)
        lost = self.parts - len(self.children)
        below = any(flag.startswith("incomplete:") for child in self.children for flag in child["flags"])
        if lost or below:
            why = f"{lost} of {self.parts} parts have no caption" if lost else "a part of a part has no caption"
            best["flags"] = [*best["flags"], f"incomplete: {why}"]
        return {name: best[name] for name in captions.TABLE.schema.names} | {
            "attempts": len(self.asked.requests),
            "prompt_hash": digest(self.asked.requests),
            "looks_s": sorted(self.asked.looks),
            "looks_by": self.asked.by,
        }

    def _zoomed(self, best: Row, look: Look, span: Span) -> Generator[Request, Any, tuple[Row, Look]]:
        """The best of the first look and of second ones, where it is in doubt, with the pictures that it is of."""
        frames, seen = self.how.frames, list[Span]()
        for _ in range(frames.rounds):
            unsure = best["confidence"] is None or best["confidence"] < frames.sure_above
            if not unsure and (best["disagreement"] or 0.0) <= frames.disagree_above and not best["look_closer"]:
                break
            closer = zoom(span, best["look_closer"], seen)
            if closer is None:
                break
            seen.append(closer)
            second = self.sight.look(closer, self._about())
            if not second.pictures:
                break
            first = auxiliary.told(best["text"] or "", "first look", self.how.context_tokens)
            found = yield from self._better(best, self._ask(prompts.LOOK, [*self._known(), first], second))
            best, look = found, second if found is not best else look
        return best, look

    def _better(self, best: Row, question: Generator[Request, Any, Row]) -> Generator[Request, Any, Row]:
        """The better of a row and an answer: with a text, with fewer flags, with more confidence. None is no loss."""
        try:
            other = yield from question
        except NoReplyError:
            return best
        if best["confidence"] is not None and (other["confidence"] or 0.0) < best["confidence"] and not best["flags"]:
            return best

        def rank(row: Row) -> tuple[bool, int, float]:
            return row["text"] is not None, -len(row["flags"]), row["confidence"] or 0.0

        return other if rank(other) >= rank(best) else best

    def _told(self) -> Generator[Request, Any, Row]:
        """A caption from those of the parts: a group of them at a time, each with the summary so far."""
        most, groups, room = self.how.parts_tokens, [list[str]()], self.how.parts_tokens
        start_s = self.node["start_s"]
        for child in self.children:
            name = f"part {child['start_s'] - start_s:.1f}s to {child['end_s'] - start_s:.1f}s"
            line = auxiliary.told(child["text"], name, most)
            if (size := auxiliary.tokens(line + "\n")) > room and groups[-1]:
                groups.append([])
                room = most
            groups[-1].append(line)
            room -= size
        so_far = auxiliary.told(self._about(), "whole", self.how.context_tokens)
        for group in groups[:-1]:
            row = yield from self._ask(prompts.SUMMARISE, [so_far, *group])
            so_far = auxiliary.told(row["text"] or row["raw"] or "", "summary so far", self.how.context_tokens)
        self.last = [so_far, self._facts(), *groups[-1]]
        return (yield from self._whole((), 0))

    def _changes(self, look: Look) -> Generator[Request, Any, Row]:
        """ShareGPT4Video's sliding window: the first picture, then each next one against the one before; then all."""
        lines: list[str] = []
        for n in range(len(look.pictures)):
            window = slice(max(0, n - 1), n + 1)
            pair = Look(look.pictures[window], look.times[window], look.by)
            before = auxiliary.told(lines[-1], "before", self.how.context_tokens) if lines else ""
            row = yield from self._ask(prompts.CHANGE if n else prompts.LOOK, [before], pair)
            lines.append(f"{look.times[n][0] - self.node['start_s']:.1f}s: {row['text'] or row['raw']}")
        most = self.how.parts_tokens // len(lines)
        self.last = [*self._known(), *(auxiliary.told(line, "change", most) for line in lines)]
        return (yield from self._whole((), 0))

    def _whole(self, complaints: Sequence[str], asking: int) -> Generator[Request, Any, Row]:
        return (yield from self._ask(prompts.SUMMARISE, self.last, None, complaints, asking))

    def _layered(self, best: Row) -> Generator[Request, Any, Row]:
        """The layers, each from the one before; one that fails stays as it was, and so does one that checks refuse."""
        text = best["raw"]
        for name, task in prompts.LAYERS.items():
            known = [auxiliary.told(text, "caption", self.how.parts_tokens)]
            try:
                row = yield from self._ask(task, known)
            except NoReplyError:
                continue
            if row["text"] and len(row["flags"]) <= len(best["flags"]):
                best = best | {name: row["text"]}
                text = row["text"] if name == "text" else text
        return best

    def _ask(
        self, task: str, known: Sequence[str], look: Look | None = None, complaints: Sequence[str] = (), asking: int = 0
    ) -> Generator[Request, Any, Row]:
        task = f"{self.how.instruction}\n{task}" if self.how.instruction else task
        request = prompts.request(task, known, look, self.node["start_s"], complaints, asking, self.how.reply_tokens)
        self.asked.requests.append(request.digest())
        if look is not None:
            self.asked.looks.update(t_s for times in look.times for t_s in times)
            self.asked.by = look.by
        reply = yield request
        if isinstance(reply, NoReplyError):
            raise reply
        fields, flags = prompts.read(reply.text)
        if not reply.complete:
            flags.append("truncation: the answer was cut off")
        closer = fields.pop("look_closer", None)
        closer = closer and tuple(time + self.node["start_s"] for time in closer)
        row = _row(self.node, {"raw": fields.get("text"), **fields}, self.model, flags)
        row |= {"confidence": reply.confidence, "disagreement": disagreement(row, self.node, reply.confidence)}
        if row["text"]:
            row["flags"] = [*flags, *self.check(self.node, row, {"parent": self.parent, "children": self.children})]
        return row | {"look_closer": closer}

    def _about(self) -> str:
        return (self.parent or {}).get("text") or ""

    def _known(self) -> list[str]:
        """What the span is part of, first; then what was measured in it."""
        return [auxiliary.told(self._about(), "whole", self.how.context_tokens), self._facts()]

    def _facts(self) -> str:
        return auxiliary.block(json.loads(self.node["facts"]), self.node["start_s"], self.how.facts_tokens)
