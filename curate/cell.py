"""A small object of a store that is written only under a condition, as `curate.lease` needs one.

Which stores can do that:

- S3 and what speaks its protocol since 2024 (AWS, Ceph, MinIO, R2, moto): both conditions.
- Google Cloud Storage: `ifGenerationMatch`, 0 for what must not be there.
- Azure Blob Storage: `If-None-Match: *` and `If-Match`.
- Storage buckets of the Hugging Face Hub: as S3, by their gateway (`curate.buckets`).
- Repositories of the Hub, HTTP and other read-only addresses: none; `curate.lease` refuses a dataset there.
- Others (`sftp://`, `hdfs://`, …) have no such write that fsspec offers: a run goes on and warns that it is unguarded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import fsspec.asyn

from curate.remote import open_filesystem, plainly, refusal, store


class Cell(Protocol):
    """One small object of a store, written only under a condition."""

    timeout_s: float
    """After which a request is given up."""

    def read(self) -> tuple[bytes, str] | None:
        """Its bytes and a tag that changes with every write; None: it is not there."""

    def write(self, data: bytes, tag: str | None) -> str | None:
        """Write it where it still has the tag (None: where it is not there).

        Returns:
            The new tag; None: it was not written.
        """


def cell(url: str, name: str, timeout_s: float = 30.0) -> Cell:
    """An object in the folder at `url`, each of whose reads and writes takes `timeout_s` at most."""
    fs, root = open_filesystem(url)
    makers: dict[str, Callable[[Any, str, float], Cell]] = {"s3": _S3, "gs": _Gcs, "az": _Azure}
    return makers[store(url)](fs, f"{root}/{name}", timeout_s)


class _Cell:
    def __init__(self, fs: Any, path: str, timeout_s: float) -> None:
        self._fs, self._path, self.timeout_s = fs, path, timeout_s

    def _call(self, coroutine: Any) -> Any:
        """An asynchronous call of the store's client, given up after the timeout."""
        with plainly(self._fs.unstrip_protocol(self._path)):
            return fsspec.asyn.sync(self._fs.loop, lambda: coroutine, timeout=self.timeout_s)


class _S3(_Cell):
    def _ask(self, method: str, **more: Any) -> Any:
        bucket, key, _ = self._fs.split_path(self._path)
        return self._call(self._fs._call_s3(method, Bucket=bucket, Key=key, **more))

    def read(self) -> tuple[bytes, str] | None:
        bucket, key, _ = self._fs.split_path(self._path)

        async def get() -> tuple[bytes, str]:
            answer = await self._fs._call_s3("get_object", Bucket=bucket, Key=key)
            async with answer["Body"] as body:
                return await body.read(), answer["ETag"]

        try:
            return self._call(get())
        except FileNotFoundError:
            return None

    def write(self, data: bytes, tag: str | None) -> str | None:
        condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
        try:
            return str(self._ask("put_object", Body=data, **condition)["ETag"])
        except FileExistsError:
            return None
        except FileNotFoundError:
            if tag:
                return None
            raise
        except OSError as error:
            code, _ = refusal(getattr(error.__cause__, "response", None))
            if code in ("PreconditionFailed", "ConditionalRequestConflict"):
                return None
            raise


class _Gcs(_Cell):
    def _names(self) -> tuple[str, str]:
        bucket, key, _ = self._fs.split_path(self._path)
        return bucket, key

    def read(self) -> tuple[bytes, str] | None:
        bucket, key = self._names()

        async def get() -> tuple[bytes, str]:
            about = await self._fs._call("GET", "b/{}/o/{}", bucket, key, json_out=True)
            # Of a later generation by now, perhaps: a write on the one that was asked about fails then.
            _, body = await self._fs._call("GET", "b/{}/o/{}", bucket, key, alt="media")
            return body, str(about["generation"])

        try:
            return self._call(get())
        except FileNotFoundError:
            return None

    def write(self, data: bytes, tag: str | None) -> str | None:
        bucket, key = self._names()
        url = f"{self._fs._location}/upload/storage/v1/b/{bucket}/o"

        async def put() -> str:
            made = await self._fs._call(
                "POST", url, uploadType="media", name=key, ifGenerationMatch=tag or "0", data=data, json_out=True
            )
            return str(made["generation"])

        try:
            return self._call(put())
        except FileExistsError:
            return None


class _Azure(_Cell):
    def _blob(self) -> Any:
        container, blob, _ = self._fs.split_path(self._path)
        return self._fs.service_client.get_blob_client(container=container, blob=blob)

    def read(self) -> tuple[bytes, str] | None:
        from azure.core.exceptions import ResourceNotFoundError

        async def get() -> tuple[bytes, str]:
            async with self._blob() as blob:
                stream = await blob.download_blob()
                return await stream.readall(), stream.properties.etag

        try:
            return self._call(_or_none(get(), ResourceNotFoundError))
        except FileNotFoundError:
            return None

    def write(self, data: bytes, tag: str | None) -> str | None:
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError

        matching = {"etag": tag, "match_condition": MatchConditions.IfNotModified} if tag else {}

        async def put() -> str:
            async with self._blob() as blob:
                made = await blob.upload_blob(data, overwrite=tag is not None, **matching)
                return str(made["etag"])

        return self._call(_or_none(put(), ResourceExistsError, ResourceModifiedError, ResourceNotFoundError))


async def _or_none(coroutine: Any, *errors: type[Exception]) -> Any:
    try:
        return await coroutine
    except errors:
        return None
