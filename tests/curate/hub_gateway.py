"""The S3 gateway of the Hub's storage buckets, as https://huggingface.co/docs/hub/storage-buckets-s3 describes it.

A proxy before moto's server that does no more than the page promises: the namespace is the first part of every path,
listings are of version 2, checksums that trail a body are not parsed, uploads under way are not listed, and who does
not call itself botocore is sent elsewhere for a file's bytes. Only the keys that the Hub made are let in.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from stores import Proxy, clean_environment, error, operation, s3_server, standing_before

HUB_KEY, HUB_SECRET = "HFAKofthetests0123456789", "hubsecretofthetests0123456789"


@dataclass
class Gateway(Proxy):
    namespace: str = "org"
    too_many: int = 0
    """Requests that are still to be one too many."""
    home: Path = Path()
    """Of the files that ~/.aws has."""

    @property
    def environment(self) -> dict[str, str]:
        """With the profile as the Hub says, and somebody's keys for AWS that are nobody's business here."""
        return clean_environment() | {
            "AWS_CONFIG_FILE": str(self.home / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.home / "credentials"),
            "AWS_ACCESS_KEY_ID": "AKIAOFSOMEBODY",
            "AWS_SECRET_ACCESS_KEY": "secretofsomebody",
            "AWS_SESSION_TOKEN": "sessionofsomebody",
        }

    def behind(self, request: web.BaseRequest) -> str:
        return request.raw_path.removeprefix(f"/{self.namespace}")

    def refused(self, request: web.BaseRequest) -> web.Response | None:
        if self.too_many:
            self.too_many -= 1
            return error(429, "TooManyRequests", "You have reached your rate limit")
        asked, headers, query = operation(request, self.behind(request)), request.headers, request.rel_url.query
        if not request.path.startswith(f"/{self.namespace}/"):
            return error(403, "AccessDenied", "no such namespace")
        if f"Credential={HUB_KEY}/" not in headers.get("Authorization", "") or "X-Amz-Security-Token" in headers:
            return error(403, "InvalidAccessKeyId", "no key of the Hub")
        if "aws-chunked" in headers.get("Content-Encoding", "") or "X-Amz-Trailer" in headers:
            return error(400, "InvalidRequest", "trailing checksums are not parsed")
        if asked == "ListObjects" and (query.get("list-type") != "2" or query.get("delimiter", "/") not in ("", "/")):
            return error(501, "NotImplemented", "ListObjectsV2 with / only")
        if asked == "ListMultipartUploads":
            return error(501, "NotImplemented", "not in the page")
        if asked == "Get" and "botocore" not in headers.get("User-Agent", "").lower():
            return web.Response(status=302, headers={"Location": "https://cdn.invalid/"})
        if asked == "Get" and {"If-Match", "If-None-Match"} & set(headers):
            return error(400, "InvalidRequest", "conditions are not heeded here")
        key = request.path.removeprefix(f"/{self.namespace}/").partition("/")[2]
        if "//" in key or "../" in key or key.startswith(("/", "./")) or key.endswith(("/", "..")) or "\\" in key:
            return error(400, "InvalidRequest", f"no such key can be: {key}")
        return None


@contextmanager
def hub_gateway() -> Iterator[Gateway]:
    """The gateway with a bucket `reels` of the namespace `org`."""
    with s3_server() as store, tempfile.TemporaryDirectory() as folder:
        client = store.client()
        client.create_bucket(Bucket="reels")
        client.close()
        with standing_before(store, Gateway("", home=Path(folder))) as gateway:
            (gateway.home / "config").write_text(f"[profile hf]\nendpoint_url = {gateway.url}/somebody\n")
            keys = f"aws_access_key_id = {HUB_KEY}\naws_secret_access_key = {HUB_SECRET}"
            (gateway.home / "credentials").write_text(f"[hf]\n{keys}\n")
            yield gateway
