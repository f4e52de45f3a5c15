"""A Hub in one process: what `huggingface_hub` asks for of a dataset repository, kept in memory, over real HTTP.

It holds blobs by their checksum as LFS does, commits as whole trees, and refuses what the Hub refuses: no token, a
commit on another parent than it was made for, a large file that nobody sent. `failing` answers come as told.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_nobody"  # noqa: S105 - the server makes no other
_REGULAR = (".md", ".json", ".gitattributes")


@dataclass
class Blob:
    """A file of a tree: the checksum of its content, and whether it is in LFS."""

    sha256: str
    lfs: bool


@dataclass
class Repository:
    private: bool
    commits: list[tuple[str, str, dict[str, Blob]]] = field(default_factory=list)
    """(id, message, tree), the oldest first."""

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    @property
    def tree(self) -> dict[str, Blob]:
        return self.commits[-1][2]


@dataclass
class Hub:
    """The server's state, for a test to look at."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    """How often the content of each checksum was sent."""
    failing: dict[str, Iterator[int]] = field(default_factory=dict)
    """By a pattern of `METHOD path`: what is answered instead, 0 for the real thing."""
    asked: list[str] = field(default_factory=list)
    ids: Iterator[int] = field(default_factory=itertools.count)

    def content(self, name: str, path: str) -> bytes:
        return self.blobs[self.repositories[name].tree[path].sha256]

    def put(self, name: str, files: dict[str, bytes]) -> None:
        """One commit that has these files and no others; the repository is made where it is not there."""
        named = {
            path: Blob(hashlib.sha256(data).hexdigest(), not path.endswith(_REGULAR)) for path, data in files.items()
        }
        self.blobs |= {named[path].sha256: data for path, data in files.items()}
        self.repositories.setdefault(name, Repository(private=False))
        self.commit(name, "files", named)

    def commit(self, name: str, message: str, tree: dict[str, Blob]) -> str:
        oid = hashlib.sha1(f"{name} {next(self.ids)}".encode(), usedforsecurity=False).hexdigest()
        self.repositories[name].commits.append((oid, message, tree))
        return oid


@contextmanager
def serving() -> Iterator[Hub]:
    """A Hub on a free port of this machine."""
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = _Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is what is tested."""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _answer(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self._body()
        self.hub.asked.append(f"{method} {path}")
        for pattern, answers in self.hub.failing.items():
            if re.search(pattern, f"{method} {path}") and (status := next(answers, 0)):
                return self._say(status, {"error": "try again"}, {"Retry-After": "1"} if status == 429 else {})
        if not path.startswith("/lfs/") and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._say(401, {"error": "Invalid credentials"}, {"X-Error-Message": "Invalid credentials"})
        for pattern, handle in _ROUTES:
            if found := re.fullmatch(pattern, f"{method} {path}"):
                return handle(self, body, *found.groups())
        return self._say(404, {"error": f"no {method} {path}"})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().strip(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _say(self, status: int, told: object = None, headers: dict[str, str] | None = None, data: bytes = b"") -> None:
        body = data or (b"" if told is None else json.dumps(told).encode())
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(body)),
            "Content-Type": "application/json",
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _known(self, name: str) -> Repository | None:
        found = self.hub.repositories.get(name)
        if found is None:
            self._say(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        return found

    def create(self, body: bytes) -> None:
        told = json.loads(body)
        name = f"{told['organization']}/{told['name']}" if told.get("organization") else told["name"]
        if name in self.hub.repositories:
            return self._say(
                409, {"error": "You already created this dataset repo", "url": f"{self.hub.url}/datasets/{name}"}
            )
        self.hub.repositories[name] = Repository(bool(told.get("private") or told.get("visibility") == "private"))
        self.hub.blobs[hashlib.sha256(b"*.tar lfs\n").hexdigest()] = b"*.tar lfs\n"
        self.hub.commit(
            name, "initial commit", {".gitattributes": Blob(hashlib.sha256(b"*.tar lfs\n").hexdigest(), False)}
        )
        return self._say(200, {"url": f"{self.hub.url}/datasets/{name}", "name": name, "id": name})

    def info(self, body: bytes, name: str, revision: str | None) -> None:
        if found := self._known(name):
            self._say(200, {"id": name, "sha": found.head, "private": found.private, "tags": [], "siblings": []})

    def tree(self, body: bytes, name: str, revision: str, folder: str | None) -> None:
        if not (found := self._known(name)):
            return None
        inside = f"{folder}/" if folder else ""
        entries = [self._entry(path, blob) for path, blob in sorted(found.tree.items()) if path.startswith(inside)]
        if "recursive=true" not in self.path.lower():
            below = {entry["path"][len(inside) :].partition("/") for entry in entries}
            folders = sorted({inside + first for first, slash, _ in below if slash})
            entries = [entry for entry in entries if "/" not in entry["path"][len(inside) :]]
            entries += [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders]
        if folder and not entries:
            return self._say(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        return self._say(200, entries)

    def _entry(self, path: str, blob: Blob) -> dict[str, Any]:
        data = self.hub.blobs[blob.sha256]
        git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": git}
        if blob.lfs:
            entry["lfs"] = {"oid": blob.sha256, "size": len(data), "pointerSize": 130}
        return entry

    def validate(self, body: bytes) -> None:
        told = json.loads(body)
        ok = told["content"].startswith("---\n") and "license:" in told["content"]
        self._say(200 if ok else 400, {"errors": [] if ok else [{"message": "no license"}], "warnings": []})

    def preupload(self, body: bytes, name: str, revision: str) -> None:
        if self._known(name):
            files = [
                {
                    "path": f["path"],
                    "uploadMode": "regular" if f["path"].endswith(_REGULAR) else "lfs",
                    "shouldIgnore": False,
                }
                for f in json.loads(body)["files"]
            ]
            self._say(200, {"files": files})

    def batch(self, body: bytes, name: str) -> None:
        told = json.loads(body)
        objects = []
        for wanted in told["objects"]:
            entry = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.hub.blobs:
                put = {"href": f"{self.hub.url}/lfs/{wanted['oid']}", "header": {}}
                entry["actions"] = {"upload": put, "verify": {"href": f"{self.hub.url}/verify/{wanted['oid']}"}}
            objects.append(entry)
        self._say(200, {"transfer": "basic", "objects": objects})

    def upload(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            return self._say(400, {"error": "another content"})
        self.hub.blobs[oid] = body
        self.hub.sent[oid] += 1
        return self._say(200)

    def verify(self, body: bytes, oid: str) -> None:
        self._say(200 if oid in self.hub.blobs else 404, {})

    def commit(self, body: bytes, name: str, revision: str) -> None:
        if not (found := self._known(name)):
            return None
        header, *lines = [json.loads(line) for line in body.splitlines()]
        if header["value"].get("parentCommit") not in (None, found.head):
            return self._say(412, {"error": "The branch has moved"})
        tree = dict(found.tree)
        for line in lines:
            kind, value = line["key"], line["value"]
            if kind == "file":
                data = base64.b64decode(value["content"])
                self.hub.blobs[hashlib.sha256(data).hexdigest()] = data
                tree[value["path"]] = Blob(hashlib.sha256(data).hexdigest(), False)
            elif kind == "lfsFile":
                if value["oid"] not in self.hub.blobs:
                    return self._say(400, {"error": f"nobody sent {value['path']}"})
                tree[value["path"]] = Blob(value["oid"], True)
            elif kind == "deletedFile" and tree.pop(value["path"], None) is None:
                return self._say(
                    404, {"error": "A file with this name doesn't exist"}, {"X-Error-Code": "EntryNotFound"}
                )
        oid = self.hub.commit(name, header["value"]["summary"], tree)
        return self._say(
            200, {"commitUrl": f"{self.hub.url}/datasets/{name}/commit/{oid}", "commitOid": oid, "success": True}
        )

    def squash(self, body: bytes, name: str, revision: str) -> None:
        if found := self._known(name):
            found.commits[:] = found.commits[-1:]
            self._say(200, {})

    def large(self, body: bytes, name: str) -> None:
        plain = {
            blob.sha256 for _, _, tree in self.hub.repositories[name].commits for blob in tree.values() if not blob.lfs
        }
        told = {"filename": "?", "pushedAt": "2026-01-01T00:00:00.000Z", "size": 1}
        self._say(
            200,
            [
                {"fileOid": oid, "oid": oid, **told}
                for oid in sorted(self.hub.sent)
                if oid in self.hub.blobs and oid not in plain
            ],
        )

    def forget(self, body: bytes, name: str) -> None:
        for oid in json.loads(body)["deletions"]["sha"]:
            self.hub.blobs.pop(oid, None)
        self._say(200, {})

    def resolve(self, body: bytes, name: str, revision: str, path: str) -> None:
        if not (found := self._known(name)):
            return None
        if path not in found.tree:
            return self._say(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        data = self.hub.content(name, path)
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": found.head}
        if part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(part[1]), min(int(part[2] or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return self._say(206, None, headers, data[first : last + 1])
        return self._say(200, None, headers, data)


_NAME = r"([\w.-]+/[\w.-]+)"
_ROUTES = [
    (r"POST /api/repos/create", _Handler.create),
    (rf"GET /api/datasets/{_NAME}(?:/revision/([^/]+))?", _Handler.info),
    (rf"GET /api/datasets/{_NAME}/tree/([^/]+)(?:/(.+))?", _Handler.tree),
    (r"POST /api/validate-yaml", _Handler.validate),
    (rf"POST /api/datasets/{_NAME}/preupload/([^/]+)", _Handler.preupload),
    (rf"POST /datasets/{_NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    (r"PUT /lfs/(\w+)", _Handler.upload),
    (r"POST /verify/(\w+)", _Handler.verify),
    (rf"POST /api/datasets/{_NAME}/commit/([^/]+)", _Handler.commit),
    (rf"POST /api/datasets/{_NAME}/super-squash/([^/]+)", _Handler.squash),
    (rf"GET /api/datasets/{_NAME}/lfs-files", _Handler.large),
    (rf"POST /api/datasets/{_NAME}/lfs-files/batch", _Handler.forget),
    (rf"(?:GET|HEAD) /datasets/{_NAME}/resolve/([^/]+)/(.+)", _Handler.resolve),
]
