"""Everything here that reads what a stranger wrote, each as a function of bytes: for the fuzzers.

A target feeds the bytes to its reader and lets through only what the reader is not meant to raise. What a reader gives
is looked at, too: names within limits, text that UTF-8 can say, times that are numbers.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from curate import history, listing, recipe, tombstones
from curate.dataset import Dataset, to_arrow
from curate.media import h264
from curate.sandbox import ChildDiedError, understood
from curate.schedule.store import ScheduleError, Store
from pipelines.filmmaker.storyboard import StoryboardError, read_storyboard
from pipelines.longtune.config import load_config
from pipelines.longtune.config_data import BucketConfig
from pipelines.longtune.data.captions import LEVELS, metadata, prompts, said
from pipelines.longtune.data.index import build_index
from pipelines.longtune.data.latents import read_encoder, read_header, read_latents, read_text
from pipelines.longtune.data.takes import BadTakeError, ShortTakeError
from pipelines.longtune.data.tar import Member, Tars, list_members
from pipelines.longtune.data.windows import probe, read_window
from pipelines.longtune.errors import TuneError, UsageError
from schemas import captions
from stages.caption.backends import wire
from stages.caption.prompts import LONGEST_TEXT, read
from stages.characters import corrections
from stages.faces.members import CastError, members
from stages.speech.subtitles import SubtitleError, _within
from stages.speech.subtitles import read as read_subtitles

GOOD = """\
name: mine
limits: {attempts: 2}
stages:
  signals: {}
  cuts: {detector: adaptive}
  takes: {min_s: 12}
"""


def said_well(message: str, *names: str) -> None:
    """A message that names its file and says something."""
    assert any(name in message for name in names), message
    assert len(message) < 100_000


def a_recipe(data: bytes, folder: Path) -> None:
    place = folder / "fuzzed.yaml"
    place.write_bytes(data)
    try:
        loaded = recipe.load(str(place))
    except recipe.RecipeError as error:
        said_well(str(error), "fuzzed.yaml")
    else:
        json.dumps(loaded.dump())


def an_override(data: bytes, folder: Path) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for override in (text, f"takes.{text}", f"cuts.threshold={text}", f"limits.memory_gib={text}"):
        try:
            recipe.parse(GOOD, "good.yaml", [override])
        except recipe.RecipeError as error:
            said_well(str(error), "--set", "good.yaml")


def a_config(data: bytes, folder: Path) -> None:
    place = folder / "train.yaml"
    place.write_bytes(data)
    try:
        load_config(str(place))
    except UsageError as error:
        said_well(str(error), "train.yaml")


def a_storyboard(data: bytes, folder: Path) -> None:
    place = folder / "story.yaml"
    place.write_bytes(data)
    try:
        read_storyboard(place)
    except StoryboardError as error:
        said_well(str(error), "story.yaml")


def some_corrections(data: bytes, folder: Path) -> None:
    place = folder / "corrections.yaml"
    place.write_bytes(data)
    try:
        corrections.read(str(place))
    except ValueError as error:
        said_well(str(error), "corrections.yaml")


def a_schedule(data: bytes, folder: Path) -> None:
    store = Store(folder / "schedules")
    store.folder.mkdir(exist_ok=True)
    (store.folder / "night.yaml").write_bytes(data)
    try:
        store.get("night")
    except ScheduleError as error:
        said_well(str(error), "night")


def a_history(data: bytes, folder: Path) -> None:
    store = Store(folder / "schedules")
    (store.beside("night") / "history.jsonl").write_bytes(data)
    for row in store.history("night"):
        assert {"id", "state"} <= row.keys()


def a_record(data: bytes, folder: Path) -> None:
    dataset = Dataset(str(folder / "dataset"))
    dataset.write("runs/20260101T000000Z-ab.json", data)
    dataset.write("runs/20260101T000000Z-ab.profile.json", data)
    for record in history.records(dataset):
        try:
            assert isinstance(history.profile(dataset, record.id), dict)
        except LookupError as error:
            said_well(str(error), record.id)
    history.latest_profile(dataset)
    history.forget(dataset)


def some_tombstones(data: bytes, folder: Path) -> None:
    dataset = Dataset(str(folder / "purged"))
    dataset.write("purged/salt", b"ab" * 32)
    dataset.write("purged/x.json", data)
    try:
        tombstones.load(dataset)
    except tombstones.TombstoneError as error:
        said_well(str(error), "x.json")


def a_cast(data: bytes, folder: Path) -> None:
    for suffix in ("csv", "json", "yaml", "parquet"):
        place = folder / f"cast.{suffix}"
        place.write_bytes(data)
        try:
            members(place)
        except CastError as error:
            said_well(str(error), f"cast.{suffix}")


def a_list(data: bytes, folder: Path) -> None:
    for suffix in ("csv", "parquet"):
        place = folder / f"films.{suffix}"
        place.write_bytes(data)
        try:
            found = listing.listing([str(place)])
        except listing.InputError as error:
            said_well(str(error), f"films.{suffix}", "longtake[s3]")
        else:
            for each in found.files.values():
                each.path.encode()
                assert isinstance(json.loads(each.user), dict)


def subtitles(data: bytes, folder: Path) -> None:
    for suffix, body in (("srt", data), ("vtt", b"WEBVTT\n\n" + data)):
        place = folder / f"film.{suffix}"
        place.write_bytes(body)
        try:
            cues = _within(read_subtitles(place), 100.0, place.name)
        except SubtitleError as error:
            said_well(str(error), place.name)
        else:
            for cue in cues:
                assert 0 <= cue.start_s <= cue.end_s <= 100.0
                cue.text.encode()


def a_reply(data: bytes, folder: Path) -> None:
    text = data.decode("utf-8", "surrogateescape")
    fields, flags = read(text)
    assert all(isinstance(flag, str) for flag in flags)
    assert len(str(fields.get("text", ""))) <= LONGEST_TEXT
    fields.pop("look_closer", None)
    required = {f.name: "x" for f in captions.TABLE.schema if not f.nullable and pa.types.is_string(f.type)}
    numbers = {f.name: 0 for f in captions.TABLE.schema if not f.nullable and pa.types.is_primitive(f.type)}
    lists = {f.name: [] for f in captions.TABLE.schema if not f.nullable and pa.types.is_list(f.type)}
    to_arrow(captions.TABLE, [numbers | required | lists | fields])


def a_completion(data: bytes, folder: Path) -> None:
    try:
        reply = wire.parsed(data)
    except (wire.BadReplyError, wire.RefusedError) as error:
        said_well(str(error), "answer", "filter")
    else:
        reply.text.encode()
        assert reply.confidence is None or 0 <= reply.confidence <= 1
        a_reply(reply.text.encode(), folder)


def h264_bytes(data: bytes, folder: Path) -> None:
    for size in (None, 1, 2, 3, 4):
        try:
            nals = list(h264.split(data, size))
        except h264.MalformedError:
            continue
        assert sum(map(len, nals)) <= len(data)
        assert list(h264.split(h264.join(nals), 4)) == nals
    for read_it in (h264.read_record, h264.Sps.parse):
        with suppress(h264.MalformedError):
            read_it(data)
    sets = h264.ParameterSets()
    try:
        sets.add_all([b"\x67" + data, b"\x68" + data])
        if sets.sps:
            nals, size = h264.read_record(sets.record())
            assert (set(nals), size) == ({*sets.sps.values(), *sets.pps.values()}, 4)
    except h264.MalformedError:
        pass


def an_answer(data: bytes, folder: Path) -> None:
    file = io.BytesIO(data)

    def exact(size: int) -> bytes:
        found = file.read(min(size, len(data)))
        if len(found) < size:
            raise EOFError
        return found

    try:
        header, tables = understood(exact)
    except (EOFError, ChildDiedError):
        return
    assert isinstance(header, dict)
    assert all(isinstance(table, pa.Table) for table in tables.values())


def a_tar(data: bytes, folder: Path) -> None:
    place = folder / "shard-000000.tar"
    place.write_bytes(data)
    try:
        for name, member in list_members(place):
            assert member.offset >= 0
            assert member.offset + member.size <= len(data)
            assert isinstance(name, str)
    except ValueError as error:
        said_well(str(error), "is ", "has ")
    try:
        index = build_index([place], folder / "index.json")
    except TuneError as error:
        said_well(str(error), str(folder))
    else:
        json.dumps([note.reason for note in index.notes]).encode()
        for number in range(len(index.takes)):
            index.name(number).encode()
        assert build_index([place], folder / "index.json").digest == index.digest


def an_index(data: bytes, folder: Path) -> None:
    place = folder / "whole.tar"
    if not place.exists():
        place.write_bytes(shard({"json": b'{"duration_s": 3.0, "width": 32, "height": 32}', "txt": b"x", "mp4": b"?"}))
    stat = place.stat()
    cache = folder / "cached.json"
    try:
        known = json.loads(data)
    except (ValueError, RecursionError):
        cache.write_bytes(data)
    else:
        stamp = [stat.st_size, stat.st_mtime_ns]
        shards = {"whole.tar": {"stamp": stamp, "takes": known, "notes": []}}
        cache.write_text(json.dumps({"version": 1, "shards": shards}))
    try:
        assert all(take.shard == 0 for take in build_index([place], cache).takes)
    except TuneError as error:
        said_well(str(error), str(folder))


def a_sample(data: bytes, folder: Path) -> None:
    """The metadata, the text, the latents, the embeddings and the film of a sample."""
    try:
        values = metadata(data)
    except BadTakeError:
        values = {}
    for level in ("text", *LEVELS):
        for text in (data, None):
            try:
                found = said(values, text, level)
            except BadTakeError:
                continue
            assert prompts(found, 0.0, 16.0, 3)[0].frame == 0
    place = folder / "sample.bin"
    place.write_bytes(data)
    file = Tars().open(place, Member(0, len(data)))
    for read_it in (read_header, lambda f: read_latents(f, [0, 1, 5]), read_encoder, probe):
        try:
            read_it(file)
        except BadTakeError as error:
            said_well(str(error), "has ", "is ", "does ", "cannot ")
    try:
        read_text(data)
    except BadTakeError as error:
        said_well(str(error), "has ")


def a_window(data: bytes, folder: Path) -> None:
    import random

    try:
        made = read_window(io.BytesIO(data), BucketConfig(frames=5, height=32, width=32), 8.0, random.Random(1))
    except (BadTakeError, ShortTakeError) as error:
        said_well(str(error), "has ", "is ", "does ", "cannot ", "ends ", "long")
    else:
        assert made.video.shape == (5, 32, 32, 3)


def a_photo(data: bytes, folder: Path) -> None:
    from stages.faces import cast

    place = folder / "Ann.jpg"
    place.write_bytes(data)
    try:
        cast._opened(place)
    except CastError as error:
        said_well(str(error), "Ann.jpg")


TARGETS: Mapping[str, Callable[[bytes, Path], None]] = {
    f.__name__: f
    for f in (
        a_recipe, an_override, a_config, a_storyboard, some_corrections, a_schedule, a_history, a_record,
        some_tombstones, a_cast, a_list, subtitles, a_reply, a_completion, h264_bytes, an_answer, a_tar, an_index,
        a_sample, a_window, a_photo,
    )
}  # fmt: skip


def shard(parts: Mapping[str, bytes], count: int = 2) -> bytes:
    """A tar of samples with these members."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for number in range(count):
            for extension, data in parts.items():
                info = tarfile.TarInfo(f"{number:06d}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()
