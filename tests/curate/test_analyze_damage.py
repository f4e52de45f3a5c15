"""A damaged film gives the rows it has, counts what is lost, and never raises anything but MediaError."""

from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest

from curate.analyze import Interval, analyze, intervals, join
from curate.media.container import MediaError
from curate.media.probe import probe
from curate.stage import Row
from schemas import signals
from tests.curate.excerpts import excerpt
from tests.curate.films import film, steady

PROBES: dict[str, Row] = {"signals": {}, "flow": {}, "picture": {}}


def measured(path: Path, source: Row, span: Interval | None = None) -> tuple[Row, dict[str, pa.Table]]:
    header, tables = analyze(str(path), source, PROBES, (span or Interval()).dump(), lambda _: None)
    assert not header["failures"]
    return header["decode"], tables


def damage(whole: Path, target: Path, first_s: float, last_s: float) -> Path:
    """The film with the packets between two times made noise, as a bad disk block would."""
    with av.open(str(whole)) as box:
        packets = [(p.pos, p.size) for p in box.demux(video=0) if p.size and first_s <= p.pts * p.time_base < last_s]
    data = bytearray(whole.read_bytes())
    random = np.random.default_rng(1)
    for place, size in packets:
        data[place : place + size] = random.bytes(size)
    target.write_bytes(data)
    return target


@pytest.mark.parametrize("name", ["takes/cockatoo.mp4", "takes/yoga.mp4", "edited/Megamind.avi"])
def test_hole_in_the_middle(footage: Path, tmp_path: Path, name: str) -> None:
    whole = footage / "footage" / name
    if name == "takes/cockatoo.mp4":  # the pictures are large
        whole = excerpt(whole, tmp_path / "beginning.mp4", 8)
    path = damage(whole, tmp_path / whole.name, 4.0, 4.6)
    source = {"source_id": "s" * 32, **probe(str(path))}
    decode, tables = measured(path, source)
    assert decode["decode_errors"] + decode["corrupt_frames"] > 0
    rows = tables["signals"]
    times = rows["t_s"].to_numpy()
    assert decode["frames"] == rows.num_rows
    assert (np.diff(times) > 0).all()
    assert (times < 3.9).sum() >= 0.9 * 3.9 * source["fps"]
    assert times[-1] > source["duration_s"] - 0.2
    # Before the hole nothing has changed.
    _, intact = measured(whole, {"source_id": "s" * 32, **probe(str(whole))})
    before = int((times < 3.5).sum())
    assert rows.slice(0, before).equals(intact["signals"].slice(0, before))


def test_lost_packets_are_seen_where_they_were_lost(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mp4", steady(200), gop=20)
    path = damage(whole, tmp_path / "a.mp4", 10.0, 10.5)
    decode, tables = measured(path, {"source_id": "s" * 32, **probe(str(path))})
    assert decode["decode_errors"] == 5
    rows = tables["signals"].to_pylist()
    assert [round(r["t_s"], 1) for r in rows if r["errors_before"]] == [10.5]


def test_intervals_count_the_same_damage(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mp4", steady(240), gop=10)
    path = damage(whole, tmp_path / "a.mp4", 12.5, 13.0)
    source = {"source_id": "s" * 32, **probe(str(path))}
    spans = intervals(source, 2)
    assert len(spans) > 2
    decode, tables = measured(path, source)
    parts = [measured(path, source, span) for span in spans]
    for count in ("frames", "decode_errors", "corrupt_frames"):
        assert sum(part[count] for part, _ in parts) == decode[count]
    joined = join([t["signals"] for _, t in parts], [d["frames"] for d, _ in parts], signals.TABLE)
    assert joined.equals(tables["signals"])


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "webm"])
def test_random_damage_anywhere(tmp_path: Path, suffix: str) -> None:
    codec = {"avi": "mpeg4", "webm": "libvpx-vp9"}.get(suffix, "libx264")
    whole = film(tmp_path / f"whole.{suffix}", steady(60), gop=10, codec=codec).read_bytes()
    random = np.random.default_rng(7)
    path = tmp_path / f"a.{suffix}"
    for _ in range(8):
        data = bytearray(whole)
        for place in random.integers(0, len(whole), 6):
            length = int(random.integers(1, 200))
            data[place : place + length] = random.bytes(length)
        path.write_bytes(data)
        try:
            source = {"source_id": "s" * 32, **probe(str(path))}
            decode, tables = measured(path, source)
        except MediaError:
            continue
        assert tables["signals"].num_rows == decode["frames"] > 0


def test_not_one_picture_is_an_error(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mp4", steady(30))
    path = damage(whole, tmp_path / "a.mp4", 0.0, 3.0)
    with pytest.raises(MediaError, match="not one picture"):
        measured(path, {"source_id": "s" * 32, **probe(str(path))})


@pytest.mark.parametrize(
    "name",
    [
        "corrupted.mp4", "failing_audio.mp4", "no_duration.webm", "smpte2997.mp4", "transparent.webm", "unordered.mov",
        "video_90.mov",
    ],
)  # fmt: skip
def test_real_broken_files(footage: Path, name: str) -> None:
    path = footage / "footage/broken" / name
    source = {"source_id": "s" * 32, **probe(str(path))}
    decode, tables = measured(path, source)
    assert 0 < decode["frames"] == tables["signals"].num_rows
    assert (np.diff(tables["signals"]["t_s"].to_numpy()) > 0).all()


def test_picture_size_that_changes_on_the_way(tmp_path: Path) -> None:
    copy = {"mpegts_copyts": "1"}
    parts = [
        film(tmp_path / "1.ts", steady(30), container_options=copy),
        film(tmp_path / "2.ts", steady(30, start=30), size=(192, 128), container_options=copy),
    ]
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    decode, tables = measured(path, {"source_id": "s" * 32, **probe(str(path))})
    assert decode["frames"] == tables["signals"].num_rows == 60
