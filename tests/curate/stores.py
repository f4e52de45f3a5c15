"""Servers of object stores in processes of their own, and before S3's a proxy that counts and spoils requests."""

from __future__ import annotations

import asyncio
import io
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import boto3
import yarl
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web
from botocore.config import Config

KEY, SECRET, TOKEN = "AKIALONGTAKETESTS", "wJalrSecretOfTheTests/K7MDENG", "FwoGZXIvYXdzEOfTheTests"
"""Credentials that every test's clients find in their environment and that must be found nowhere else."""

AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Emulators' own, published with them."""

FAULTS = ("500", "503", "reset", "reset after", "truncated", "delay")
"""What the proxy does to a request: an answer without work, a dead connection before or after the work, half a body."""

_XML = '<?xml version="1.0"?><Error><Code>{0}</Code><Message>{1}</Message><RequestId>0</RequestId></Error>'


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Store:
    """A server: its address, and the environment in which clients find it and its credentials."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        return clean_environment() | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_SESSION_TOKEN": TOKEN,
        }

    def client(self) -> Any:
        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=KEY, aws_secret_access_key=SECRET,
            config=Config(retries={"total_max_attempts": 2}),
        )  # fmt: skip

    def download(self, bucket: str, prefix: str, folder: Path) -> None:
        """All objects below a prefix as files."""
        client = self.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
            for item in page.get("Contents", []):
                target = folder / item["Key"].removeprefix(f"{prefix}/")
                target.parent.mkdir(parents=True, exist_ok=True)
                client.download_file(bucket, item["Key"], str(target))
        client.close()


def clean_environment() -> dict[str, str]:
    """This process's environment without anybody's own credentials."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "FSSPEC_", "AZURE_", "GOOGLE_"))}


@contextmanager
def s3_server(host: str = "127.0.0.1") -> Iterator[Store]:
    """moto's server, empty, in a process of its own; also at other addresses of this machine."""
    port = free_port()
    log = subprocess.DEVNULL
    command = [sys.executable, "-c", "from moto.server import main; import sys; main(sys.argv[1:])", "-p", str(port)]
    command += ["-H", host]
    process = subprocess.Popen(command, stdout=log, stderr=log, env=clean_environment())
    try:
        _wait(port, process)
        yield Store(f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()


@dataclass
class AzureStore(Store):
    """azurite, an emulator of Azure Blob Storage, with a container `reels`."""

    @property
    def environment(self) -> dict[str, str]:
        return clean_environment() | {"AZURE_STORAGE_CONNECTION_STRING": self.connection}

    @property
    def connection(self) -> str:
        return (
            f"DefaultEndpointsProtocol=http;AccountName={AZURE_ACCOUNT};AccountKey={AZURE_KEY};"
            f"BlobEndpoint={self.url}/{AZURE_ACCOUNT};"
        )


@contextmanager
def azure_server() -> Iterator[AzureStore]:
    from azure.storage.blob import BlobServiceClient

    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = ["azurite-blob", "--blobPort", str(port), "--location", folder, "--silent", "--skipApiVersionCheck"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait(port, process)
            store = AzureStore(f"http://127.0.0.1:{port}")
            with BlobServiceClient.from_connection_string(store.connection) as client:
                client.create_container("reels")
            yield store
        finally:
            process.kill()
            process.wait()


_GCS = """
import sys, threading
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.server import create_server

unconditional, turn = objects._media_upload, threading.Lock()

def media_upload(request, response, storage):
    (wanted,) = request.query.get("ifGenerationMatch", [None])
    with turn:
        try:
            there = storage.get_file_obj(request.params["bucket_name"], request.query["name"][0])["generation"]
        except NotFound:
            there = "0"
        if wanted not in (None, there):
            response.status = 412
            return
        unconditional(request, response, storage)

objects._media_upload = media_upload
create_server("127.0.0.1", int(sys.argv[1]), in_memory=True, default_bucket="reels").run()
"""
"""The emulator, and what it lacks: https://docs.cloud.google.com/storage/docs/request-preconditions"""


@dataclass
class GoogleStore(Store):
    """An emulator of Google Cloud Storage, with a bucket `reels`."""

    @property
    def environment(self) -> dict[str, str]:
        """gcsfs asks over gRPC what kind of bucket it is, which the emulator never answers."""
        return clean_environment() | {
            "STORAGE_EMULATOR_HOST": self.url,
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }


@contextmanager
def gcs_server() -> Iterator[GoogleStore]:
    port = free_port()
    command = [sys.executable, "-c", _GCS, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(port, process)
        yield GoogleStore(f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    given_up = time.monotonic() + 200
    while time.monotonic() < given_up:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError("the server did not start")


@dataclass
class Proxy(Store):
    """What stands before a server."""

    shares: Mapping[str, float] = field(default_factory=dict)
    """By fault: the share of requests that it befalls."""
    seed: int = 0
    away: bool = False
    """While set, every connection is dropped."""
    requests: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def refused(self, request: web.BaseRequest) -> web.Response | None:
        """What this server does not do, where the one behind it would."""
        return None

    def behind(self, request: web.BaseRequest) -> str:
        """Path and query of a request at the server behind."""
        return request.raw_path

    def fault(self) -> str | None:
        drawn = self._random.random()
        for name, share in self.shares.items():
            if drawn < share:
                return name
            drawn -= share
        return None


P = TypeVar("P", bound=Proxy)


def operation(request: web.BaseRequest, behind: str) -> str:
    """S3's name for a request, whose path and query at the server these are."""
    query, inside = request.rel_url.query, behind.partition("?")[0].strip("/").count("/") > 0
    if request.method == "POST":
        return (
            "DeleteObjects" if "delete" in query else "CreateMultipart" if "uploads" in query else "CompleteMultipart"
        )
    if request.method == "GET" and not inside:
        return "ListMultipartUploads" if "uploads" in query else "ListObjects"
    if request.method == "PUT" and "partNumber" in query:
        return "UploadPart"
    return {"GET": "Get", "PUT": "Put", "HEAD": "Head", "DELETE": "Delete"}[request.method]


@contextmanager
def proxied(store: Store, shares: Mapping[str, float] | None = None, seed: int = 0) -> Iterator[Proxy]:
    """A proxy in a thread of this process."""
    with standing_before(store, Proxy("", shares or {}, seed)) as proxy:
        yield proxy


@contextmanager
def standing_before(store: Store, proxy: P) -> Iterator[P]:
    """The proxy, served in a thread of this process."""
    loop = asyncio.new_event_loop()
    started = threading.Event()
    stop = asyncio.Event()

    async def main() -> None:
        connector = TCPConnector(limit=0)
        timeout = ClientTimeout(total=None)
        async with ClientSession(connector=connector, auto_decompress=False, timeout=timeout) as session:
            server = web.Server(lambda request: _pass_on(proxy, store, session, request))
            runner = web.ServerRunner(server)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            started.set()
            await stop.wait()
            await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    started.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _pass_on(proxy: Proxy, store: Store, session: ClientSession, request: web.BaseRequest) -> web.StreamResponse:
    assert request.transport is not None
    name = operation(request, proxy.behind(request))
    proxy.requests[name] += 1
    proxy.lines.append(f"{name} {request.path}")
    if proxy.away:
        request.transport.abort()
        return web.Response(status=500)
    if refusal := proxy.refused(request):
        return refusal
    if request.headers.get("Expect"):
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await request.content.read()  # of any size
    fault = proxy.fault()
    if fault == "truncated" and request.method != "GET":
        fault = "reset after"
    if fault:
        proxy.faults[fault] += 1
    if fault == "reset":
        request.transport.abort()
        return web.Response(status=500)
    if fault == "500":
        return error(500, "InternalError", "We encountered an internal error. Please try again.")
    if fault == "503":
        return error(503, "SlowDown", "Please reduce your request rate.")
    if fault == "delay":
        await asyncio.sleep(1)
    between = ("transfer-encoding", "content-length", "expect")
    headers = {k: v for k, v in request.headers.items() if k.lower() not in between}
    url = yarl.URL(f"{store.url}{proxy.behind(request)}", encoded=True)
    async with session.request(
        request.method, url, headers=headers, data=io.BytesIO(body), allow_redirects=False
    ) as answer:
        content = await answer.read()
        kept = {k: v for k, v in answer.headers.items() if k.lower() not in ("transfer-encoding", "connection", "date")}
        status = answer.status
    if fault == "reset after":
        request.transport.abort()
        return web.Response(status=500)
    if request.method == "HEAD":
        response = web.StreamResponse(status=status, headers=kept)
        await response.prepare(request)
        return response
    if fault == "truncated" and len(content) > 1:
        kept["Content-Length"] = str(len(content))
        response = web.StreamResponse(status=status, headers=kept)
        await response.prepare(request)
        await response.write(content[: len(content) // 2])
        request.transport.abort()
        return response
    kept.pop("Content-Length", None)
    return web.Response(status=status, headers=kept, body=content)


def error(status: int, code: str, message: str) -> web.Response:
    return web.Response(status=status, text=_XML.format(code, message), content_type="application/xml")
