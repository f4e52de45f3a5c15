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

from pipelines.longtune.config import CausalConfig, DataConfig
from pipelines.longtune.data.index import build_index
from pipelines.longtune.data.loader import Cursor, open_batches
from pipelines.longtune.data.shards import list_shards
from pipelines.longtune.data.takes import BadTakeError, ShortTakeError
from pipelines.longtune.data.windows import Window, read_window
from pipelines.longtune.errors import TuneError, UsageError
from stages.latents.pictures import fit

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


OPEN_GOP = {"bf": "3", "g": "12", "x264-params": "open-gop=1:b-adapt=0:scenecut=0"}
STEADY = list(range(0, 4000, 40))
UNEVEN = sorted({*range(0, 1500, 20), *range(1500, 3000, 250), 3001, 3017, 3050, 3700})
DATA = DataConfig(frames=9, fps=8, height=32, width=32, num_workers=0)
LAYOUT = CausalConfig(block=1, window=2, sink=1)


def window_of(take: bytes, rng: random.Random) -> Window:
    return read_window(io.BytesIO(take), DATA.shapes[0], DATA.fps, rng)


@pytest.mark.parametrize("times", [STEADY, UNEVEN], ids=["steady", "uneven"])
@pytest.mark.parametrize(
    "coding", [{"bf": "0"}, {"bf": "3", "g": "12"}, {"g": "250"}, OPEN_GOP], ids=["no-b", "b", "long-gop", "open-gop"]
)
def test_each_frame_is_the_one_on_screen_at_its_time(times, coding):
    take = make_take(times, 4000, **coding)
    starts = set()
    for seed in range(12):
        window = window_of(take, random.Random(seed))
        assert window.video.shape == (9, 32, 32, 3)
        starts.add(window.start_s)
        wanted = [float(window.start_s) * 1000 + 125 * index for index in range(9)]
        shown = [max(time for time in times if time <= wanted_ms + 0.5) for wanted_ms in wanted]
        assert np.abs(times_of(window) - shown).max() <= 45  # two greys of rounding
        assert wanted[-1] < 4000
    assert len(starts) == 12


def test_the_same_draw_gives_the_same_window():
    take = make_take(STEADY, 4000)
    first, second = (window_of(take, random.Random("0/1/key")) for _ in range(2))
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
    window = window_of(bytes(take), late)
    assert window.start_s > Fraction(29, 10)


@pytest.mark.parametrize(("name", "seed"), [("cockatoo.mp4", 0), ("cockatoo.mp4", 5), ("dj4.mp4", 2)])
def test_a_window_is_what_a_decode_from_the_start_shows(footage, name, seed):
    """Cockatoo has keyframes behind which pictures come out wrong for seconds, some of them not marked as such."""
    take = (footage / "footage/takes" / name).read_bytes()
    window = window_of(take, random.Random(seed))
    wanted = [window.start_s + Fraction(index, 8) for index in range(9)]
    with av.open(io.BytesIO(take)) as container:
        frames = {frame.pts * frame.time_base: frame for frame in container.decode(video=0)}
    shown = [frames[max(time for time in frames if time <= moment)] for moment in wanted]
    assert (window.video == np.stack([fit(frame, 32, 32) for frame in shown])).all()


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
    window = window_of(file.getvalue(), random.Random(0))
    assert window.video[:, :, 1:-1].min() > 240


def test_a_short_take_says_how_long_it_is():
    with pytest.raises(ShortTakeError) as caught:
        window_of(make_take(STEADY[:20], 800), random.Random(0))
    assert caught.value.seconds == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("cut", [0, 40, 0.5], ids=["empty", "header", "half"])
def test_a_cut_off_file_is_bad(cut):
    take = make_take(STEADY, 4000, movflags="faststart")
    cut_take = take[: cut if isinstance(cut, int) else int(len(take) * cut)]
    with pytest.raises(BadTakeError):
        window_of(cut_take, random.Random(1))


def test_a_playlist_in_mp4_s_clothing_opens_nothing(tmp_path):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(make_take(STEADY, 4000))
    for text in (f"#EXTM3U\n#EXTINF:4,\nfile://{secret}\n", f"ffconcat version 1.0\nfile {secret}\n"):
        with pytest.raises(BadTakeError, match="cannot be decoded"):
            window_of(text.encode(), random.Random(0))


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
        # Only decoding finds this one out: its .json says what a good take's would.
        "j": {"mp4": b"not a video", "json": b'{"duration_s": 4, "width": 64, "height": 48}', "txt": b"a take"},
    }
    shard(folder / "train" / "000.tar", first)
    shard(folder / "train" / "001.tar", second)
    whole = (folder / "train" / "000.tar").read_bytes()
    (folder / "train" / "002.tar").write_bytes(whole[: len(whole) // 3])
    (folder / "train" / "003.tar").write_bytes(b"not a tar at all" * 100)
    return folder


GOOD = {"000.tar:a", "000.tar:d", "001.tar:e", "001.tar:i"}


def drawn(folder: Path, batches: int, cursor: Cursor | None = None, **changes: object):
    data = DATA.model_copy(update=changes)
    stream = open_batches(build_index(list_shards(folder)), data, LAYOUT, seed=0, cursor=cursor or Cursor())
    return [next(stream) for _ in range(batches)]


def test_bad_takes_are_skipped_and_named(mixed):
    batches = drawn(mixed, 10)
    good = [batch for batch in batches if batch.target.any()]
    assert {key for batch in good for key in batch.keys} == GOOD
    assert all(batch.video.shape == (1, 3, 9, 32, 32) for batch in batches)
    assert {key for batch in batches if not batch.target.any() for key in batch.keys} == {"001.tar:j"}
    notes = {note.name: note for batch in batches for note in batch.notes}
    assert {name for name, note in notes.items() if note.kind == "short"} == {"001.tar:g"}
    bad = {name for name, note in notes.items() if note.kind == "bad"}
    broken = {"002.tar", "002.tar:a", "003.tar"}
    assert bad == {f"000.tar:{key}" for key in "bc"} | {f"001.tar:{key}" for key in "fhj"} | broken
    assert "cannot be decoded" in notes["000.tar:b"].reason
    captions = {caption for batch in good for caption in batch.captions}
    assert captions <= {"a take", "from json", ""}
    assert {prompt.text for batch in good for prompt in batch.timelines[0]} == {"a take", "from json"}


def test_a_bad_take_stops_the_run_where_it_shall(mixed):
    with pytest.raises(TuneError, match=r"000\.tar:b: cannot be decoded"):
        drawn(mixed, 1, on_bad_sample="error")


def test_a_pass_without_a_readable_take_is_an_error(tmp_path):
    told = b'{"duration_s": 4, "width": 64, "height": 48}'
    shard(tmp_path / "0.tar", {key: {"mp4": b"none", "json": told, "txt": b"a take"} for key in "abc"})
    with pytest.raises(TuneError, match=r"none of the last 3 takes could be read; 0\.tar:"):
        drawn(tmp_path, 3)


def test_epochs_differ_in_order_and_windows(mixed):
    batches = drawn(mixed, 15)
    by_epoch = [[batch.keys[0] for batch in batches[5 * i : 5 * i + 5]] for i in range(3)]
    assert all(sorted(names) == sorted(by_epoch[0]) for names in by_epoch)
    assert len({tuple(names) for names in by_epoch}) > 1
    first, second = ({batch.keys[0]: batch.video for batch in batches[5 * i : 5 * i + 5]} for i in (0, 1))
    assert not all(first[key].equal(second[key]) for key in GOOD)


def same(left, right) -> bool:
    return (
        left.keys == right.keys
        and left.video.equal(right.video)
        and left.target.equal(right.target)
        and (left.captions, left.timelines, left.cursor) == (right.captions, right.timelines, right.cursor)
    )


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_stream_goes_on_where_it_was(mixed, batch_size):
    whole = drawn(mixed, 6, batch_size=batch_size)
    for done in range(1, 6):
        cursor = Cursor.from_json(json.loads(json.dumps(whole[done - 1].cursor.to_json())))
        rest = drawn(mixed, 6 - done, cursor, batch_size=batch_size)
        assert all(same(a, b) for a, b in zip(rest, whole[done:], strict=True))


@pytest.mark.slow
def test_workers_change_nothing(mixed):
    """Nor do they where a stream goes on."""
    alone = drawn(mixed, 6, batch_size=2)
    resumed = drawn(mixed, 5, alone[0].cursor, batch_size=2, num_workers=2)
    assert all(same(a, b) for a, b in zip(resumed, alone[1:], strict=True))


def test_a_folder_without_shards_is_named(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        list_shards(tmp_path / "nowhere")
    with pytest.raises(TuneError, match="curate run long_take"):
        list_shards(tmp_path)
    (tmp_path / "shards" / "train").mkdir(parents=True)
    with tarfile.open(tmp_path / "shards" / "train" / "0.tar", "w"):
        pass
    with pytest.raises(TuneError, match="did you mean --shards"):
        list_shards(tmp_path)
