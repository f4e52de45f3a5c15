"""The chat completions protocol in bytes: what is sent for a `Request`, and what of the answer is believed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pybase64

from stages.caption.protocol import Picture, Reply, Request

CONTROL = re.compile(
    r"<(?=[|｜]|/?(?:image|video|audio|s|think|fake_token|start_of|end_of|global|bos|eos|unk|pad|img|tool|box|ref|row_)"
    r"[\w-]*>)|\[(?=/?(?:INST|IMG|IMG_BREAK|IMG_END|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_\w+)\])",
    re.IGNORECASE,
)
"""The start of what chat templates use as control tokens; servers read them even within a user's text."""


class BadReplyError(Exception):
    """An attempt that failed; another may not."""

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RefusedError(Exception):
    """An answer that will be the same however often it is asked for."""

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.status = status

    @property
    def everybodys(self) -> bool:
        """Whether other questions will fare the same: a redirect, a wrong key, a model or path that is not there."""
        return 300 <= self.status < 400 or self.status in (401, 403, 404, 405)


@dataclass
class Known:
    """What was learned of a server."""

    answered: bool = False
    refused: set[str] = field(default_factory=set)
    """Fields that it does not take."""


def plain(text: str) -> str:
    """Text in which nothing is a model's control token: a space after the bracket keeps it legible."""
    return CONTROL.sub(r"\g<0> ", text)


def clean(text: str) -> str:
    """An answer as UTF-8 can say it, without NUL, which no text column likes, and blanks around it."""
    return text.encode("utf-8", "replace").decode().replace("\0", "").strip()


def body(request: Request, model: str, without: Collection[str]) -> bytes:
    """The JSON that is posted. Pictures are spliced in as base64, which needs no escaping: JSON encoders would copy and
    scan them again.

    Args:
        without: fields that are left out: `response_format`, `logprobs`.
    """
    head: dict[str, Any] = {"model": model, "max_tokens": request.most_tokens, "temperature": request.temperature}
    if request.asking:
        head["seed"] = request.asking
    if "logprobs" not in without:
        head["logprobs"] = True
    if request.schema is not None and "response_format" not in without:
        wanted = {"name": "caption", "schema": request.schema, "strict": True}
        head["response_format"] = {"type": "json_schema", "json_schema": wanted}
    pieces = [json.dumps(head)[:-1].encode(), b', "messages": [']
    if request.system:
        pieces += [json.dumps({"role": "system", "content": request.system}).encode(), b", "]
    pieces.append(b'{"role": "user", "content": [')
    for number, part in enumerate(request.parts):
        if number:
            pieces.append(b", ")
        if isinstance(part, Picture):
            pieces.append(b'{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,')
            pieces += [pybase64.b64encode(part.jpeg), b'"}}']
        else:
            pieces.append(json.dumps({"type": "text", "text": plain(part)}).encode())
    pieces.append(b"]}]}")
    return b"".join(pieces)


def parsed(text: bytes) -> Reply:
    """The answer out of a completion.

    Raises:
        BadReplyError: it is no completion.
        RefusedError: it is one, but holds no answer.
    """
    try:
        told = json.loads(text)
        choice = told["choices"][0]
        content, reason = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise BadReplyError(f"the answer is no chat completion: {detail(text)}") from None
    if reason == "content_filter":
        raise RefusedError("the server's filter keeps the answer back")
    if content is not None and not isinstance(content, str):
        raise BadReplyError(f"the answer's text is a {type(content).__name__}")
    answer = clean(content or "")
    if not answer:
        raise RefusedError(f"the answer is empty (it ended by {shown(reason)})")
    usage = told.get("usage")
    return Reply(
        answer,
        confidence=_confidence(choice.get("logprobs")),
        complete=reason != "length",
        prompt_tokens=_count(usage, "prompt_tokens"),
        reply_tokens=_count(usage, "completion_tokens"),
    )


def _confidence(logprobs: Any) -> float | None:
    """Geometric mean of the tokens' probabilities, or None where it is not told for every one."""
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(tokens, list) or not tokens:
        return None
    values = [token.get("logprob") if isinstance(token, dict) else None for token in tokens]
    numbers = [value for value in values if isinstance(value, int | float) and -1e9 < value <= 1e-3]
    if len(numbers) < len(values):
        return None
    return min(math.exp(sum(numbers) / len(numbers)), 1.0)


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 <= value < 2**31 else None


def priced(reply: Reply, price_in: float | None, price_out: float | None) -> Reply:
    """The reply with its cost, where tokens and both prices (of a million) are known."""
    if price_in is None or price_out is None or reply.prompt_tokens is None or reply.reply_tokens is None:
        return reply
    return replace(reply, cost=(reply.prompt_tokens * price_in + reply.reply_tokens * price_out) / 1e6)


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds that the server asks to wait; 0 where it does not say."""
    told = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", told):
        return float(told)
    try:
        when = parsedate_to_datetime(told)
    except (TypeError, ValueError):
        return 0.0
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max((aware - datetime.now(UTC)).total_seconds(), 0.0)


def detail(text: bytes) -> str:
    """The beginning of what a server said, fit to be shown."""
    return shown(text[:2000].decode("utf-8", "replace")) if text.strip() else "an empty body"


def shown(value: object) -> str:
    """At most 300 letters of anything, on one line, without control characters."""
    text = str(value) or type(value).__name__
    return "".join(letter if letter.isprintable() else " " for letter in text)[:300].strip()
