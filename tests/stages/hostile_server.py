"""A server of chat completions in a process of its own that misbehaves as the question tells it to.

A question's text is `FAULT ID`; to any other the answer is a caption, or the one that was given at the start. Each
arrival and each answer is a line `asked ID` or `answered ID` of the log.
"""

import asyncio
import hashlib
import json
import re
import sys
from pathlib import Path

LOG = Path(sys.argv[2])
DELAY_S = float(sys.argv[3])
ANSWER = sys.argv[4] if len(sys.argv) > 4 else None
seen: dict[str, int] = {}
WORDS = "wall door table lamp bench chair plant shelf box rope stone tree fence mat ball screen".split()


def told(text="It rains.", reason="stop", **more):
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason, **more}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 30, "completion_tokens": 10}}).encode()


def whole(body, status="200 OK", headers="", kind="application/json"):
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def note(what, ident):
    with LOG.open("a") as file:
        file.write(f"{what} {ident}\n")


async def misbehave(fault, ident, sent, writer):
    """The bytes to send, or None where the connection is to be torn."""
    first = seen[ident] == 1
    if fault == "429" and first:
        return whole(b"slow down", "429 Too Many Requests", "Retry-After: 1\r\n")
    if fault == "500" and first:
        return whole(b'{"error": "oops"}', "500 Internal Server Error")
    if fault == "always500":
        return whole(b"", "500 Internal Server Error")
    if fault == "torn" and first:
        return None
    if fault == "hang":
        await asyncio.sleep(60)
    if fault == "half":
        writer.write(whole(told())[:-20])
        return None
    if fault == "drip":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(200):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.1)
    if fault == "huge":
        return whole(told("a" * (4 << 20)))
    if fault == "unsized":
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(400):
            writer.write(b"10000\r\n" + b"a" * 65536 + b"\r\n")
            await writer.drain()
        return None
    if fault == "redirect":
        return whole(b"", "307 Temporary Redirect", f"Location: http://127.0.0.2:{sys.argv[1]}/v1/chat/completions\r\n")
    if fault == "key":
        return whole(json.dumps({"error": f"bad key {sent.get('key')}"}).encode(), "401 Unauthorized")
    if fault == "noschema" and "response_format" in sent:
        return whole(b'{"error": "response_format is not supported"}', "400 Bad Request")
    answers = {
        "empty": told(""),
        "blank": told(" \n\t"),
        "null": told(None),
        "filtered": told("I may not", "content_filter"),
        "nochoices": b'{"choices": []}',
        "garbage": b"{'choices': [" * 100,
        "nested": b"[" * 100_000,
        "nothing": b"",
        "number": told(7),
        "length": told("It rains and", "length"),
        "surrogate": rb'{"choices": [{"message": {"content": "ab\ud800c\u0000"}, "finish_reason": "stop"}]}',
        "repeated": told("the same " * 50),
        "sure": told(logprobs={"content": [{"logprob": -0.5}, {"logprob": -1.5}]}),
        "unsure": told(logprobs={"content": [{"logprob": "nan"}]}),
        "echo": told(json.dumps({key: sent[key] for key in sent if key != "messages"})),
    }
    if fault == "caption" and ANSWER is not None:
        return whole(told(ANSWER))
    if fault == "caption":
        text = f"A person does something slowly near the {' '.join(WORDS[int(digit, 16)] for digit in ident[:3])}."
        return whole(told(json.dumps({"text": text, "raw": text, "prompt": text, "short": text})))
    if fault == "html":
        return whole(b"<html>nginx</html>", kind="text/html")
    return whole(answers.get(fault, told(f"Answer {ident}.")))


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            size = int(re.search(r"content-length: (\d+)", head, re.I)[1])
            sent = json.loads(await reader.readexactly(size))
            found = re.search(r"authorization: bearer (\S+)", head, re.I)
            sent["key"] = found and found[1]
            parts = sent["messages"][-1]["content"]
            try:
                fault, ident = parts[0]["text"].split()
            except (KeyError, ValueError):  # a real question
                fault, ident = "caption", hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
            seen[ident] = seen.get(ident, 0) + 1
            note("asked", ident)
            await asyncio.sleep(DELAY_S)
            data = await misbehave(fault, ident, sent, writer)
            if data is None:
                break
            writer.write(data)
            await writer.drain()
            note("answered", ident)
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), limit=1 << 24)
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
