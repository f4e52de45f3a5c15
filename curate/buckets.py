"""Storage buckets of the Hugging Face Hub, `hf://buckets/NAMESPACE/BUCKET/…`, by their gateway that speaks as S3 does.

A bucket is what the Hub has for files that change: no commits, which it counts by the hour. Its gateway heeds
`If-Match` and `If-None-Match` on a PUT, so that a dataset there has one writer at a time (`curate.lease`).
What it wants of a client, and the name of the profile: https://huggingface.co/docs/hub/storage-buckets-s3
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, ClassVar
from urllib.parse import urlsplit

import botocore.session
from s3fs import S3FileSystem

from curate.remote import BUCKETS, UrlError, refusal

GATEWAY = "https://s3.hf.co"
PROFILE = "hf"
"""Profile of ~/.aws that holds the keys. Others are not tried: they would be sent to a stranger's server."""
CURE = (
    "in https://huggingface.co/settings/tokens choose `Generate S3 credentials` of a token, and put the two keys as "
    f"aws_access_key_id and aws_secret_access_key under [{PROFILE}] into ~/.aws/credentials"
)

WAITS_S = (1, 2, 4, 8, 16, 30, 60, 60, 60, 60)
"""After a request too many, seconds: the Hub counts them in windows of five minutes."""

_ADDRESS = re.compile(rf"{BUCKETS}([\w.-]+)/([\w.-]+(?:/.*)?)", re.DOTALL)


class HubBuckets(S3FileSystem):
    """The buckets of a namespace. Paths are `BUCKET/KEY`.

    Args:
        namespace: a user or an organisation of the Hub.
        gateway: scheme and host.
        config_kwargs: of botocore's `Config`.
    """

    protocol: ClassVar[str] = "hf"

    def __init__(self, namespace: str, gateway: str, config_kwargs: dict[str, Any], **more: Any) -> None:
        self.namespace = namespace
        super().__init__(
            profile=PROFILE,
            endpoint_url=f"{gateway}/{namespace}",
            client_kwargs={"region_name": "us-east-1"},
            config_kwargs={
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
                **config_kwargs,
                "s3": {"addressing_style": "path"},
            },
            **more,
        )

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        named = _ADDRESS.fullmatch(path) if isinstance(path, str) else None
        return super()._strip_protocol(named[2] if named else path)

    async def _call_s3(self, method: str, *more: Any, **words: Any) -> Any:
        waits = iter(WAITS_S)
        while True:
            try:
                return await super()._call_s3(method, *more, **words)
            except OSError as error:
                _, status = refusal(getattr(error.__cause__, "response", None))
                wait_s = next(waits, None)
                if status != 429 or wait_s is None:
                    raise
            await asyncio.sleep(wait_s)

    def unstrip_protocol(self, name: str) -> str:
        return name if name.startswith(BUCKETS) else f"{BUCKETS}{self.namespace}/{name}"


def buckets(url: str, **options: Any) -> tuple[HubBuckets, str]:
    """The filesystem of an address, and the file's name there.

    Raises:
        UrlError: it names no bucket, or nobody may ask for it.
    """
    named = _ADDRESS.fullmatch(url)
    if named is None:
        raise UrlError(f"{url}: write it as {BUCKETS}NAMESPACE/BUCKET/FOLDER")
    profile = botocore.session.get_session().full_config["profiles"].get(PROFILE)
    if not profile:
        raise UrlError(f"{url}: there is no profile [{PROFILE}] with keys for the Hub's buckets; {CURE}")
    gateway = urlsplit(profile.get("endpoint_url", GATEWAY))  # the Hub has its users write a namespace there, too
    fs = HubBuckets(named[1], f"{gateway.scheme}://{gateway.netloc}", **options)
    return fs, fs._strip_protocol(url)
