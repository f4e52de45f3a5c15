"""Shards: the samples that `pack` laid out, written as WebDataset tars, and listed with checksums.

`Shard` writes the tars, `Index` lists them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import IO, ClassVar

import pyarrow as pa
import pyarrow.dataset as ds

from curate.stage import DamagedError, Row, RowStage, TableStage, Workspace
from schemas import Table, indexes, shards

MEMBERS = {"latents": "latents.safetensors", "media": "mp4", "text_embeddings": "text.safetensors"}
"""Columns of a sample that name a file, and the file's extension in the tar."""


class Shard(RowStage):
    """Writes one tar. The same samples give the same bytes: fixed order, owners, modes and times."""

    name: ClassVar[str] = "shard"
    writes: ClassVar[Table] = shards.SHARDS
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"samples": ()}
    by: ClassVar[str] = "shard"

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        samples = sorted(inputs["samples"].to_pylist(), key=lambda s: s["position"])
        out = work.scratch / "shard.tar"
        duration_s = 0.0
        with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as tar:
            for sample in samples:
                duration_s += json.loads(sample["json"])["duration_s"]
                _add(tar, sample["clip_id"], "json", sample["json"].encode())
                for column, extension in MEMBERS.items():
                    if sample[column] is not None:
                        with _whole(work, sample[column], sample[f"{column}_sha256"]) as file:
                            _add_file(tar, sample["clip_id"], extension, file)
                _add(tar, sample["clip_id"], "txt", sample["txt"].encode())
        with open(out, "rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        size = out.stat().st_size
        work.publish(out, samples[0]["shard"])
        yield {
            "shard": samples[0]["shard"],
            "split": samples[0]["split"],
            "samples": len(samples),
            "bytes": size,
            "sha256": checksum,
            "duration_s": duration_s,
            "keys": [sample["clip_id"] for sample in samples],
        }


def _add(tar: tarfile.TarFile, key: str, extension: str, data: bytes) -> None:
    tar.addfile(_member(key, extension, len(data)), io.BytesIO(data))


@contextmanager
def _whole(work: Workspace, relative: str, checksum: str) -> Iterator[IO[bytes]]:
    """A file of the dataset, open.

    Raises:
        DamagedError: it is not there, or not what was written.
    """
    with ExitStack() as opened:
        try:
            file = opened.enter_context(open(opened.enter_context(work.fetch(relative)), "rb"))
        except FileNotFoundError:
            raise DamagedError(relative, "it is missing") from None
        if hashlib.file_digest(file, "sha256").hexdigest() != checksum:
            raise DamagedError(relative, "its bytes are not those that were written")
        file.seek(0)
        yield file


def _add_file(tar: tarfile.TarFile, key: str, extension: str, file: IO[bytes]) -> None:
    tar.addfile(_member(key, extension, os.fstat(file.fileno()).st_size), file)


def _member(key: str, extension: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(f"{key}.{extension}")
    member.size, member.mode, member.mtime = size, 0o644, 0
    return member


class Index(TableStage):
    """Writes each split's index.json in the format of webdataset's wids, with a checksum for every shard."""

    name: ClassVar[str] = "index"
    writes: ClassVar[Table] = indexes.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"shards": ()}

    def run(self, inputs: Mapping[str, ds.Dataset], work: Workspace) -> Iterator[pa.Table]:
        packed = sorted(inputs["shards"].to_table().to_pylist(), key=lambda s: s["shard"])
        rows = []
        for split in sorted({s["split"] for s in packed}):
            mine = [s for s in packed if s["split"] == split]
            listed = [
                {
                    "url": s["shard"].rsplit("/", 1)[-1],
                    "nsamples": s["samples"],
                    "filesize": s["bytes"],
                    "sha256": s["sha256"],
                    "duration_s": s["duration_s"],
                }
                for s in mine
            ]
            index = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": split, "shardlist": listed}
            data = json.dumps(index, indent=1).encode()
            path = f"shards/{split}/index.json"
            local = work.scratch / "index.json"
            local.write_bytes(data)
            work.publish(local, path)
            rows.append(
                {
                    "split": split,
                    "path": path,
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "shards": len(mine),
                    "samples": sum(s["samples"] for s in mine),
                }
            )
        yield pa.Table.from_pylist(rows, schema=self.writes.schema)
