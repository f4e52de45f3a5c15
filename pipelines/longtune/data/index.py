"""The index of a folder of shards: what every sample is and where its members lie, from one look at the tars' headers.

With it a random take costs one read, and a random window of a long one what its pictures weigh. A broken shard or
sample is passed over and named; what is left of its shard is still used.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from webdataset.tariterators import base_plus_ext

from pipelines.longtune.config import BucketConfig, DataConfig
from pipelines.longtune.data.captions import LEVELS, metadata, said
from pipelines.longtune.data.latents import LatentsHeader, read_encoder, read_header
from pipelines.longtune.data.takes import BadTakeError, Note
from pipelines.longtune.data.tar import Member, Tars, list_members, printable
from pipelines.longtune.data.windows import probe
from pipelines.longtune.errors import TuneError, UsageError
from pipelines.longtune.losses import SampleLosses
from stages.latents.networks import TEXT_ENCODER, VAE, WeightsError, fingerprint, part

_VERSION = 1
LATENTS, TEXT = "latents.safetensors", "text.safetensors"
_MEMBERS = ("mp4", "json", "txt", LATENTS, TEXT)
_LONGEST_S = 1e7  # a third of a year: beyond it a length is a mistake
_WIDEST = 1 << 15


@dataclass(frozen=True)
class Entry:
    """A sample.

    Attributes:
        shard: number of its tar in the index.
        key: as in the tar.
        members: where each lies, by extension: mp4, json, txt, latents.safetensors, text.safetensors.
        seconds: length of the video.
        width: pixels.
        height: pixels.
        levels: the caption levels that it has; text for a .txt, or what stands in for it.
        latents: what its precomputed latents are; None without.
        encoder: fingerprint of the text encoder of its precomputed embeddings; None without.
    """

    shard: int
    key: str
    members: dict[str, Member]
    seconds: float
    width: int
    height: int
    levels: tuple[str, ...]
    latents: LatentsHeader | None = None
    encoder: str | None = None


@dataclass(frozen=True)
class Index:
    """All samples of some shards that can be used, in the shards' order, and notes of those that cannot."""

    shards: tuple[Path, ...]
    takes: tuple[Entry, ...]
    notes: tuple[Note, ...] = ()
    sizes: tuple[int, ...] = field(default=())

    def name(self, take: int) -> str:
        """shard:key, for people."""
        entry = self.takes[take]
        return _name(self.shards[entry.shard], entry.key)

    @property
    def digest(self) -> str:
        """A hash of the shards' names and sizes and the samples' keys: what "the same data" means to a resumed run."""
        content = [[path.name for path in self.shards], self.sizes, [(take.shard, take.key) for take in self.takes]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def build_index(shards: Sequence[Path], cache: Path | None = None) -> Index:
    """Index the tars, each scanned once.

    Args:
        shards: the tars, of distinct names.
        cache: a file to keep the index in, e.g. in the run's folder: a tar of the same name, size and time of change is
            not scanned again. Without it the index is in memory alone.

    Raises:
        TuneError: no shard can be read.
    """
    before = _read_cache(cache)
    tars = Tars()
    takes: list[Entry] = []
    notes: list[Note] = []
    kept: dict[str, Any] = {}
    sizes: list[int] = []
    for number, path in enumerate(shards):
        try:
            stat = path.stat()
        except OSError as error:
            notes.append(Note("bad", printable(path.name), error.strerror or str(error)))
            sizes.append(0)
            continue
        sizes.append(stat.st_size)
        stamp = [stat.st_size, stat.st_mtime_ns]
        found, wrong = _from_json(before.get(path.name), stamp, number) or _scan(path, number, tars)
        takes += found
        notes += wrong
        kept[path.name] = {
            "stamp": stamp,
            "takes": [asdict(take) for take in found],
            "notes": [asdict(note) for note in wrong],
        }
    if not takes:
        why = f"; {notes[0].name} {notes[0].reason}" if notes else ""
        raise TuneError(f"{shards[0].parent}: no sample in {len(shards)} shards can be used{why}")
    if cache is not None:
        new = cache.with_name(f".{cache.name}.new")
        new.write_text(json.dumps({"version": _VERSION, "shards": kept}))
        new.replace(cache)
    return Index(tuple(shards), tuple(takes), tuple(notes), tuple(sizes))


@dataclass(frozen=True)
class Assigned:
    """Which takes go to which bucket, each as often as it is drawn in a pass; `notes` of those that fit none."""

    buckets: tuple[tuple[int, ...], ...]
    notes: tuple[Note, ...]


def assign(index: Index, data: DataConfig) -> Assigned:
    """Sort the takes into `data.shapes`.

    Raises:
        TuneError: no take fits any.
    """
    buckets: list[list[int]] = [[] for _ in data.shapes]
    notes = []
    draws = _draws(index, data)
    for number, take in enumerate(index.takes):
        try:
            if data.captions.level not in take.levels:
                raise BadTakeError(f"has no caption for data.captions.level: {data.captions.level}")
            bucket = (_latent_bucket if data.input == "latents" else _bucket)(take, data)
        except BadTakeError as error:
            notes.append(Note("bad", index.name(number), str(error)))
            continue
        if bucket is None:
            notes.append(Note("short", index.name(number), f"{take.seconds:.2f} s long"))
        else:
            buckets[bucket] += [number] * (_windows(take, data.shapes[bucket], data) * draws.get(take.key, 1))
    if not any(buckets):
        raise TuneError(_nothing(index, data, notes))
    return Assigned(tuple(map(tuple, buckets)), tuple(notes))


def _windows(take: Entry, shape: BucketConfig, data: DataConfig) -> int:
    """How often a take is drawn in a pass."""
    if data.windows == "take":
        return 1
    return max(1, int(take.seconds * data.fps / shape.frames))


def _draws(index: Index, data: DataConfig) -> dict[str, int]:
    """By sample key: how often a take is drawn in a pass by what it lost in an earlier run; else once.

    By the key alone: a clip may be packed into another shard since.
    """
    file = data.losses_file
    if file is None:
        return {}
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != data.losses_sha256:
        raise UsageError(f"{file}: data.losses is not the file that the run began with; give another -o")
    there = {take.key for take in index.takes}
    means = {
        key: entry.sum / entry.count
        for name, entry in SampleLosses.read(file).by_key.items()
        if entry.count and (key := name.rpartition(":")[2]) in there
    }
    if not means:
        raise UsageError(f"{file}: data.losses is of other shards: no take of these was in that run")
    usual = statistics.median(means.values())
    return {key: min(data.most_draws, max(1, round(mean / usual))) if usual else 1 for key, mean in means.items()}


def _bucket(take: Entry, data: DataConfig) -> int | None:
    """The nearest in aspect of those that the take fills; of these the longest, and of these the nearest in size."""
    if "mp4" not in take.members:
        raise BadTakeError("has no .mp4 member; set data.input: latents")
    fitting = [i for i, shape in enumerate(data.shapes) if (shape.frames - 1) / data.fps < take.seconds]

    def distance(number: int) -> tuple[float, int, float]:
        shape = data.shapes[number]
        aspect = abs(math.log(shape.width / shape.height * take.height / take.width))
        area = abs(math.log(shape.width * shape.height / (take.width * take.height)))
        return round(aspect, 6), -shape.frames, area

    return min(fitting, key=distance, default=None)


def _latent_bucket(take: Entry, data: DataConfig) -> int | None:
    """The longest bucket of the very size that the latents have."""
    if take.latents is None:
        raise BadTakeError("has no latents; run the recipe with the stage `latents`, or set data.input: video")
    header = take.latents
    same = [i for i, shape in enumerate(data.shapes) if (shape.height, shape.width) == (header.height, header.width)]
    if header.fps != data.fps or not same:
        raise BadTakeError(
            f"has latents of {header.width}x{header.height} at {header.fps:g} fps, which no bucket of the config is of"
        )
    fitting = [i for i in same if data.shapes[i].latents <= header.frames]
    return max(fitting, key=lambda i: data.shapes[i].latents, default=None)


def check_latents(index: Index, data: DataConfig, source: str) -> None:
    """Refuse latents and embeddings of other networks than the run's; nothing is to be said of an input of video.

    Args:
        index: the shards' index.
        data: what is read.
        source: the run's `model.from`.

    Raises:
        TuneError: names the first shard whose fingerprint is another.
    """
    if data.input == "video":
        return
    try:
        vae = fingerprint(part(source, VAE))
        encoder = fingerprint(part(source, TEXT_ENCODER)) if any(take.encoder for take in index.takes) else None
    except WeightsError as error:
        raise TuneError(str(error)) from error
    for number, take in enumerate(index.takes):
        for what, stage, theirs, ours in (
            ("VAE", "latents", take.latents.vae if take.latents else None, vae),
            ("text encoder", "text_embeddings", take.encoder, encoder),
        ):
            if theirs is not None and theirs != ours:
                raise TuneError(
                    f"{index.shards[take.shard]}: {index.name(number)} was encoded by another {what} "
                    f"({theirs[:12]}) than that of {source} ({str(ours)[:12]}); run the recipe again with "
                    f"{stage}.weights: {source}, or set data.input: video"
                )


def _nothing(index: Index, data: DataConfig, notes: Sequence[Note]) -> str:
    least = min(data.shapes, key=lambda shape: shape.frames)
    short = [index.takes[i].seconds for i in range(len(index.takes)) if index.takes[i].seconds]
    bad = next((note for note in [*notes, *index.notes] if note.kind == "bad"), None)
    parts = [
        f"no take is as long as a window ({(least.frames - 1) / data.fps:.2f} s: {least.frames} frames at "
        f"{data.fps:g} fps)"
    ]
    counted = sum(note.kind == "short" for note in notes)
    if counted:
        parts.append(f"{counted} are shorter, the longest {max(short):.2f} s long; lower data.frames")
    if bad is not None:
        total = sum(note.kind == "bad" for note in [*notes, *index.notes])
        parts.append(f"{total} are bad, the first {bad.name}: {bad.reason}")
    return "; ".join(parts)


def _name(path: Path, key: str) -> str:
    return printable(f"{path.name}:{key}")


def _scan(path: Path, number: int, tars: Tars) -> tuple[list[Entry], list[Note]]:
    samples: dict[str, dict[str, Member]] = {}
    notes = []
    try:
        for name, member in list_members(path):
            key, extension = base_plus_ext(name)
            if key is None or extension.lower() not in _MEMBERS:
                continue
            members = samples.setdefault(key, {})
            if extension.lower() in members:
                notes.append(Note("bad", _name(path, key), f"has two .{extension} members; the first is used"))
            members.setdefault(extension.lower(), member)
    except (OSError, ValueError) as error:
        notes.append(Note("bad", printable(path.name), str(error)))
    entries = []
    for key, members in samples.items():
        try:
            entries.append(_entry(path, number, key, members, tars))
        except (BadTakeError, OSError) as error:
            notes.append(Note("bad", _name(path, key), str(error)))
    return entries, notes


def _entry(path: Path, number: int, key: str, members: dict[str, Member], tars: Tars) -> Entry:
    if "mp4" not in members and LATENTS not in members:
        raise BadTakeError("has no .mp4 member")
    values = metadata(tars.read(path, members["json"])) if "json" in members else {}
    header = read_header(tars.open(path, members[LATENTS])) if LATENTS in members else None
    shape = _told(values)
    if shape is None:
        if "mp4" not in members:
            raise BadTakeError("has no .mp4 member, and no .json that says how long and large it is")
        shape = probe(tars.open(path, members["mp4"]))
    text = tars.read(path, members["txt"]) if "txt" in members else None
    levels = []
    for level in ("text", *LEVELS):
        try:
            said(values, text, level)
        except BadTakeError:
            continue
        levels.append(level)
    if not levels:
        raise BadTakeError("has no readable caption in .txt or .json")
    encoder = read_encoder(tars.open(path, members[TEXT])) if TEXT in members else None
    return Entry(number, key, members, *shape, tuple(levels), header, encoder)


def _told(values: dict[str, Any]) -> tuple[float, int, int] | None:
    """Length and size by the .json; None where it does not say, or says what cannot be."""
    seconds, width, height = (values.get(name) for name in ("duration_s", "width", "height"))
    if not isinstance(seconds, int | float) or not 0 < seconds < _LONGEST_S:
        return None
    if not isinstance(width, int) or not isinstance(height, int):
        return None
    if not (0 < width <= _WIDEST and 0 < height <= _WIDEST):
        return None
    return float(seconds), width, height


def _read_cache(cache: Path | None) -> dict[str, Any]:
    """The shards of a cache; empty if there is none, or it is of another version or broken: it is then made anew."""
    if cache is None or not cache.is_file():
        return {}
    try:
        values = json.loads(cache.read_text())
        return dict(values["shards"]) if values["version"] == _VERSION else {}
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}


def _from_json(known: Any, stamp: list[int], number: int) -> tuple[list[Entry], list[Note]] | None:
    """What a cache holds of a shard; None if that is of another state of it, or broken."""
    try:
        return _known(known, number) if known["stamp"] == stamp else None
    except (LookupError, TypeError, AttributeError):
        return None


def _known(known: dict[str, Any], number: int) -> tuple[list[Entry], list[Note]]:
    takes = [
        Entry(
            number,
            take["key"],
            {extension: Member(**member) for extension, member in take["members"].items()},
            take["seconds"],
            take["width"],
            take["height"],
            tuple(take["levels"]),
            LatentsHeader(**take["latents"]) if take["latents"] else None,
            take["encoder"],
        )
        for take in known["takes"]
    ]
    return takes, [Note(**note) for note in known["notes"]]
