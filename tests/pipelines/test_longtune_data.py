"""Windows cut from takes whose every frame shows its own time as a grey, and shards that are partly broken."""

import io
import json
import random
import tarfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import webdataset as wds

from pipelines.longtune.config import DataConfig
from pipelines.longtune.data.loader import Place, open_batches
from pipelines.longtune.data.shards import BadTakeError, list_shards, read_shard
from pipelines.longtune.data.windows import ShortTakeError, Window, read_window
from pipelines.longtune.errors import TuneError, UsageError

TICKS = 1000  # of a second


def make_take(times_ms: list[int], end_ms: int, **options: str) -> bytes:
    """An mp4 whose frame at t ms is of the grey 16 + t / 20."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "0", "preset": "ultrafast", **options})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, TICKS)
        for time, following in zip(times_ms, [*times_ms[1:], end_ms], strict=True):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), grey(time), np.uint8), format="rgb24")
            frame.pts, frame.time_base, frame.duration = time, Fraction(1, TICKS), following - time
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def grey(time_ms: float) -> int:
    return round(16 + time_ms / 20)


def times_of(window: Window) -> np.ndarray:
    return (window.video.mean(axis=(1, 2, 3)) - 16) * 20


def shard(path: Path, samples: dict[str, dict[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wds.TarWriter(str(path)) as writer:
        for key, members in samples.items():
            writer.write({"__key__": key, **members})


STEADY = list(range(0, 4000, 40))
UNEVEN = sorted({*range(0, 1500, 20), *range(1500, 3000, 250), 3001, 3017, 3050, 3700})
DATA = DataConfig(frames=9, fps=8, height=32, width=32, num_workers=0, shuffle_buffer=3)


@pytest.mark.parametrize("times", [STEADY, UNEVEN], ids=["steady", "uneven"])
@pytest.mark.parametrize("coding", [{"bf": "0"}, {"bf": "3", "g": "12"}, {"g": "250"}], ids=["no-b", "b", "long-gop"])
def test_each_frame_is_the_one_on_screen_at_its_time(times, coding):
    take = make_take(times, 4000, **coding)
    starts = set()
    for seed in range(12):
        window = read_window(take, DATA, random.Random(seed))
        assert window.video.shape == (9, 32, 32, 3)
        starts.add(window.start_s)
        wanted = [float(window.start_s) * 1000 + 125 * index for index in range(9)]
        shown = [max(time for time in times if time <= wanted_ms + 0.5) for wanted_ms in wanted]
        assert np.abs(times_of(window) - shown).max() <= 45  # two greys of rounding
        assert wanted[-1] < 4000
    assert len(starts) == 12


def test_the_same_draw_gives_the_same_window():
    take = make_take(STEADY, 4000)
    first, second = (read_window(take, DATA, random.Random("0/1/key")) for _ in range(2))
    assert np.array_equal(first.video, second.video)


def test_only_the_gop_of_the_window_is_decoded(monkeypatch):
    """The keyframe before the window is sought: what lies before it may as well be broken."""
    take = bytearray(make_take(STEADY, 4000, g="10", bf="0"))
    with av.open(io.BytesIO(bytes(take))) as container:
        packets = [p for p in container.demux(video=0) if p.pts is not None]
        early = [(p.pos, p.size) for p in packets if p.pts * p.time_base < 1]
    for position, size in early:
        take[position + 4 : position + size] = b"\0" * (size - 4)
    late = random.Random()
    monkeypatch.setattr(late, "randrange", lambda stop: stop - 1)
    window = read_window(bytes(take), DATA, late)
    assert window.start_s > Fraction(29, 10)


def test_frames_are_scaled_to_cover_and_cropped_in_the_middle():
    file = io.BytesIO()
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, 32:96] = 255  # white middle square on black
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    window = read_window(file.getvalue(), DATA, random.Random(0))
    assert window.video[:, :, 1:-1].min() > 240


def test_a_short_take_says_how_long_it_is():
    with pytest.raises(ShortTakeError) as caught:
        read_window(make_take(STEADY[:20], 800), DATA, random.Random(0))
    assert caught.value.seconds == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("cut", [0, 40, 0.5], ids=["empty", "header", "half"])
def test_a_cut_off_file_is_bad(cut):
    take = make_take(STEADY, 4000, movflags="faststart")
    cut_take = take[: cut if isinstance(cut, int) else int(len(take) * cut)]
    with pytest.raises(BadTakeError):
        read_window(cut_take, DATA, random.Random(1))


def test_a_playlist_in_mp4_s_clothing_opens_nothing(tmp_path):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(make_take(STEADY, 4000))
    for text in (f"#EXTM3U\n#EXTINF:4,\nfile://{secret}\n", f"ffconcat version 1.0\nfile {secret}\n"):
        with pytest.raises(BadTakeError, match="cannot be decoded"):
            read_window(text.encode(), DATA, random.Random(0))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """Two shards: four good takes, a short one, and every kind of broken one."""
    folder = tmp_path_factory.mktemp("shards #1")  # a name that a URL would cut at the '#'
    good = {"mp4": make_take(STEADY, 4000), "json": json.dumps({"captions": []}).encode(), "txt": b"a take"}
    captioned = {"captions": [{"level": "shot", "start_s": 0, "end_s": 4, "text": "from json"}]}
    first = {"a": good, "b": {**good, "mp4": b"not a video"}, "c": {"txt": b"no video"}, "d": good}
    second = {
        "e": {"mp4": good["mp4"], "json": json.dumps(captioned).encode()},
        "f": {"mp4": good["mp4"], "json": b"[" * 100_000, "pkl": b"cos\nsystem\n(S'exit 1'\ntR."},
        "g": {**good, "mp4": make_take(STEADY[:10], 400)},
        "h": {**good, "txt": b"\xff\xfe"},
        "i": good,
    }
    shard(folder / "train" / "000.tar", first)
    shard(folder / "train" / "001.tar", second)
    whole = (folder / "train" / "000.tar").read_bytes()
    (folder / "train" / "002.tar").write_bytes(whole[: len(whole) // 3])
    (folder / "train" / "003.tar").write_bytes(b"not a tar at all" * 100)
    return folder


def drawn(folder: Path, batches: int, start: Place | None = None, **changes: object):
    stream = open_batches(list_shards(folder), DATA.model_copy(update=changes), 0, start or Place())
    return [next(stream) for _ in range(batches)]


def test_bad_takes_are_skipped_and_named(mixed):
    batches = drawn(mixed, 8)
    assert {name for batch in batches for name in batch.names} == {"000.tar:a", "000.tar:d", "001.tar:e", "001.tar:i"}
    notes = {note.name: note for batch in batches for note in batch.notes}
    assert {name for name, note in notes.items() if note.kind == "short"} == {"001.tar:g"}
    bad = {name for name, note in notes.items() if note.kind == "bad"}
    assert bad >= {"000.tar:b", "000.tar:c", "001.tar:f", "001.tar:h", "002.tar", "003.tar"}
    assert not bad & {"000.tar:a", "000.tar:d", "001.tar:e", "001.tar:i", "001.tar:g"}
    assert "cannot be decoded" in notes["000.tar:b"].reason
    assert {caption for batch in batches for caption in batch.captions} == {"a take", "from json"}


def test_no_other_member_is_even_read(mixed):
    takes = list(read_shard(mixed / "train" / "001.tar", lambda name, reason: pytest.fail(f"{name}: {reason}")))
    assert not any("pkl" in take.members for take in takes)


def test_epochs_differ_in_order_and_windows(mixed):
    batches = drawn(mixed, 12)
    by_epoch = [[batch.names[0] for batch in batches[4 * i : 4 * i + 4]] for i in range(3)]
    assert all(sorted(names) == sorted(by_epoch[0]) for names in by_epoch)
    assert len({tuple(names) for names in by_epoch}) > 1
    assert not batches[0].video.equal(batches[4].video)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_stream_goes_on_where_it_was(mixed, batch_size):
    whole = drawn(mixed, 6, batch_size=batch_size)
    for done in range(1, 6):
        place = Place()
        for batch in whole[:done]:
            place = place.after(batch)
        rest = drawn(mixed, 6 - done, place, batch_size=batch_size)
        assert [batch.names for batch in rest] == [batch.names for batch in whole[done:]]
        assert all(a.video.equal(b.video) for a, b in zip(rest, whole[done:], strict=True))


@pytest.mark.slow
def test_workers_take_turns_after_a_resume_too(mixed):
    whole = drawn(mixed, 8, num_workers=2)
    place = Place()
    for batch in whole[:3]:
        place = place.after(batch)
    rest = drawn(mixed, 5, place, num_workers=2)
    assert [batch.names for batch in rest] == [batch.names for batch in whole[3:]]
    assert all(a.video.equal(b.video) for a, b in zip(rest, whole[3:], strict=True))


def test_a_folder_without_shards_is_named(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        list_shards(tmp_path / "nowhere")
    with pytest.raises(TuneError, match="curate shard"):
        list_shards(tmp_path)
    (tmp_path / "shards" / "train").mkdir(parents=True)
    with tarfile.open(tmp_path / "shards" / "train" / "0.tar", "w"):
        pass
    with pytest.raises(TuneError, match="did you mean --shards"):
        list_shards(tmp_path)
