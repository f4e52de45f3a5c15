"""The index of shards: what it finds is what the stock reader finds, and a hostile or broken tar costs only itself."""

import io
import json
import random
import tarfile
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webdataset.tariterators import group_by_keys, tar_file_expander

from pipelines.longtune.config import BucketConfig, CausalConfig, DataConfig
from pipelines.longtune.data import index as indexing
from pipelines.longtune.data.index import assign, build_index
from pipelines.longtune.data.loader import Cursor, open_batches
from pipelines.longtune.data.tar import Member, Tars, list_members
from pipelines.longtune.data.windows import probe, read_window
from pipelines.longtune.errors import TuneError, UsageError
from pipelines.longtune.losses import SampleLosses

TOLD = {"duration_s": 12.5, "width": 640, "height": 360}


def tar_of(path: Path, members: list[tuple[str, bytes]], **options) -> Path:
    with tarfile.open(path, "w", **options) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def sample(key: str, **told: object) -> list[tuple[str, bytes]]:
    return [
        (f"{key}.json", json.dumps(TOLD | told).encode()),
        (f"{key}.mp4", f"video of {key}".encode(errors="replace")),
        (f"{key}.txt", f"caption of {key}".encode(errors="replace")),
    ]


def test_it_finds_what_the_stock_reader_finds(tmp_path):
    keys = ["a", "b", "deep/er/c", "with space", "ünïcode", "x" * 140]
    path = tar_of(tmp_path / "0.tar", [member for key in keys for member in sample(key)])
    index = build_index([path])
    tars = Tars()
    ours = {
        take.key: {extension: tars.read(path, member) for extension, member in take.members.items()}
        for take in index.takes
    }
    with path.open("rb") as stream:
        rows = group_by_keys(tar_file_expander([{"url": str(path), "stream": stream}]))
        stock = {row["__key__"]: {extension: row[extension] for extension in ("json", "mp4", "txt")} for row in rows}
    assert ours == stock
    assert list(ours) == keys
    assert not index.notes
    assert {(take.seconds, take.width, take.height) for take in index.takes} == {(12.5, 640, 360)}


def test_a_sample_that_says_nothing_is_probed(tmp_path, footage):
    video = (footage / "footage/takes/yoga.mp4").read_bytes()
    path = tar_of(tmp_path / "0.tar", [("a.mp4", video), ("a.txt", b"a take"), ("b.mp4", b"none"), ("b.txt", b"b")])
    index = build_index([path])
    (take,) = index.takes
    assert (take.seconds, take.width, take.height) == (10.0, 568, 320)
    assert [note.name for note in index.notes] == ["0.tar:b"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("tar") / "0.tar"
    return tar_of(path, [member for key in "abc" for member in sample(key)]).read_bytes()


@given(length=st.integers(0, 10240))
@settings(max_examples=60, deadline=None)
def test_a_truncated_tar_gives_what_is_left_of_it(tmp_path_factory, whole, length):
    path = tmp_path_factory.mktemp("cut") / "0.tar"
    path.write_bytes(whole[:length])
    other = tar_of(path.with_name("1.tar"), sample("z"))
    index = build_index([path, other])
    keys = [take.key for take in index.takes]
    assert keys == [*"abc"[: len(keys) - 1], "z"]
    tars = Tars()
    for take in index.takes:
        assert tars.read(index.shards[take.shard], take.members["mp4"]) == f"video of {take.key}".encode()
    if length < 9 * 1024:
        assert any(note.name == "0.tar" for note in index.notes)


@given(damage=st.lists(st.tuples(st.integers(0, 10239), st.integers(0, 255)), max_size=8))
@settings(max_examples=100, deadline=None)
def test_no_damage_reaches_beyond_the_file(tmp_path_factory, whole, damage):
    path = tmp_path_factory.mktemp("hurt") / "0.tar"
    data = bytearray(whole)
    for place, value in damage:
        data[place] = value
    path.write_bytes(data)
    index = build_index([path, tar_of(path.with_name("1.tar"), sample("z"))])
    assert index.takes[-1].key == "z"
    for take in index.takes[:-1]:
        assert all(m.offset >= 0 and m.offset + m.size <= len(data) for m in take.members.values())


def header(name: str, size: bytes, kind: bytes = b"0") -> bytes:
    block = bytearray(512)
    block[: len(name)] = name.encode()
    block[100:108], block[124:136], block[156:157], block[257:265] = b"0000644\0", size, kind, b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "evil",
    [
        header("a.mp4", b"\xff" * 12),
        header("a.mp4", b"\x80" + b"\xff" * 11),
        header("a.mp4", b"77777777777\0"),
        header("pax", b"77777777777\0", b"x"),
        header("pax", b"00010000000\0", b"x") + b"9999999999 path=x\n".ljust(1 << 21, b"\0"),
        header("pax", b"\xff" * 12, b"x"),
        header("long", b"77777777777\0", b"L"),
        header("a.mp4", b"00000000000\0", b"2"),
        header("sparse", b"00000000000\0", b"S"),
        header("pax", b"00000000000\0", b"x") * 3000,
    ],
    ids=["negative", "huge", "beyond", "pax-beyond", "pax-large", "pax-negative", "name", "link", "sparse", "nested"],
)
def test_hostile_headers_cost_only_their_shard(tmp_path, evil):
    good = tar_of(tmp_path / "good.tar", sample("z"))
    (tmp_path / "evil.tar").write_bytes(evil + good.read_bytes())
    index = build_index([tmp_path / "evil.tar", good])
    assert index.takes[-1].key == "z"
    assert all(take.key == "z" for take in index.takes)


def test_hostile_names_are_labels_only(tmp_path):
    names = ["../../etc/x", "/abs", "pipe:echo ", "\x1b[31mred", "a\nb", "\udcff"]
    path = tmp_path / "0.tar"
    told = [member for name in names for member in sample(name, duration_s="nan")]
    tar_of(path, told, format=tarfile.GNU_FORMAT, errors="surrogateescape")
    tar_of(tmp_path / "1.tar", sample("z"))
    index = build_index([path, tmp_path / "1.tar"])
    assert [take.key for take in index.takes] == ["z"]
    assert len(index.notes) == len(names)  # their videos, which are none, had to be probed
    assert all(note.name.isprintable() and note.name.encode() for note in index.notes)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (b"[" * 100_000, "cannot be read"),
        (b"[1]", "no object"),
        (b'{"duration_s": 1e999, "width": 64, "height": 64}', "cannot be decoded"),
        (b'{"duration_s": -1, "width": 64, "height": 64}', "cannot be decoded"),
        (b'{"duration_s": 5, "width": 0, "height": 64}', "cannot be decoded"),
        (b'{"duration_s": 5, "width": "64", "height": 64}', "cannot be decoded"),
    ],
)
def test_lies_in_the_json_are_not_believed(tmp_path, told, reason):
    path = tar_of(tmp_path / "0.tar", [("a.mp4", b"none"), ("a.json", told), ("a.txt", b"a"), *sample("z")])
    index = build_index([path])
    assert [take.key for take in index.takes] == ["z"]
    assert reason in index.notes[0].reason


def test_two_members_of_one_name_are_told(tmp_path):
    path = tar_of(tmp_path / "0.tar", [*sample("a"), ("a.mp4", b"another")])
    index = build_index([path])
    assert Tars().read(path, index.takes[0].members["mp4"]) == b"video of a"
    assert "has two .mp4 members" in index.notes[0].reason


def test_a_shard_is_scanned_once(tmp_path, monkeypatch):
    paths = [tar_of(tmp_path / f"{n}.tar", [*sample(f"{n}"), (f"{n}x.txt", b"lost")]) for n in range(3)]
    cache = tmp_path / "index.json"
    first = build_index(paths, cache)
    scanned = []
    monkeypatch.setattr(indexing, "list_members", lambda path: scanned.append(path.name) or list_members(path))
    assert build_index(paths, cache) == first
    assert scanned == []
    tar_of(paths[1], sample("new"))
    again = build_index(paths, cache)
    assert scanned == ["1.tar"]
    assert [take.key for take in again.takes] == ["0", "new", "2"]
    assert again.digest != first.digest
    cache.write_text("{")
    assert build_index(paths, cache) == again


def test_nothing_usable_is_an_error(tmp_path):
    path = tar_of(tmp_path / "0.tar", [("a.txt", b"alone")])
    with pytest.raises(TuneError, match=r"no sample in 1 shards can be used; 0\.tar:a has no \.mp4 member"):
        build_index([path])


def test_a_take_goes_to_the_nearest_aspect_and_the_longest_it_fills(tmp_path):
    wide, tall = {"width": 1920, "height": 1080}, {"width": 720, "height": 1280}
    takes = {
        "wide long": {"duration_s": 30, **wide},
        "wide short": {"duration_s": 3, **wide},
        "tall": {"duration_s": 30, **tall},
        "tall short": {"duration_s": 3, **tall},
        "too short": {"duration_s": 1, **wide},
        "just not": {"duration_s": 2, **wide},
    }
    path = tar_of(tmp_path / "0.tar", [m for key, told in takes.items() for m in sample(key, **told)])
    data = DataConfig(
        frames=33,
        fps=16,
        height=480,
        width=832,
        buckets=(
            BucketConfig(frames=81, height=480, width=832),
            BucketConfig(frames=81, height=832, width=480),
        ),
    )
    index = build_index([path])
    assigned = assign(index, data)
    named = [[index.takes[take].key for take in bucket] for bucket in assigned.buckets]
    # A tall take that fills no tall bucket is cropped rather than lost.
    assert named == [["wide short", "tall short"], ["wide long"], ["tall"]]
    assert {note.name for note in assigned.notes} == {"0.tar:too short", "0.tar:just not"}
    with pytest.raises(TuneError, match=r"no take is as long as a window .* the longest 30\.00 s"):
        assign(index, DataConfig(frames=801, fps=16))


def test_a_long_take_may_be_drawn_more_often(tmp_path, long_take):
    told = {"width": 480, "height": 360}
    members = [("a.mp4", long_take), ("a.txt", b"a"), ("b.mp4", long_take), ("b.txt", b"b")]
    members += [(f"{key}.json", json.dumps(told | {"duration_s": s}).encode()) for key, s in (("a", 130), ("b", 30))]
    index = build_index([tar_of(tmp_path / "0.tar", members)])
    data = DataConfig(frames=5, fps=0.25, height=48, width=64, num_workers=0, windows="length")
    ((first, *_, last),) = (sorted(bucket) for bucket in assign(index, data).buckets)
    assert (first, last) == (0, 1)
    stream = open_batches(index, data, CausalConfig(block=1, window=2, sink=1), seed=0, cursor=Cursor())
    batches = [next(stream) for _ in range(7)]
    of_a = [batch.video for batch in batches if batch.keys == ["0.tar:a"]]
    assert len(of_a) == 6  # windows of 20 s
    assert not all(video.equal(of_a[0]) for video in of_a)
    assert batches[-1].cursor.epoch == 1


def test_what_was_hard_is_drawn_more_often(tmp_path):
    path = tar_of(tmp_path / "0.tar", [member for key in "abcde" for member in sample(key)])
    index = build_index([path])
    earlier = SampleLosses()
    for key, lost in {"a": 0.1, "b": 0.2, "c": 0.2, "d": 0.61, "gone": 9.0}.items():
        earlier.add(f"another.tar:{key}", lost, 1)
        earlier.add(f"another.tar:{key}", lost, 2)
    earlier.add("another.tar:e", 5.0, 3)
    earlier.write(tmp_path / "losses.parquet")
    data = DataConfig(frames=5, fps=8, height=64, width=64, losses=str(tmp_path))  # a run's folder
    (drawn,) = assign(index, data).buckets
    assert [drawn.count(number) for number in range(5)] == [1, 1, 1, 3, 4]  # the last would be 25 times
    # A run goes on by the losses that it began with: by others it is another config.
    assert data.losses_sha256
    earlier.add("another.tar:a", 9.0, 4)
    earlier.write(tmp_path / "losses.parquet")
    assert DataConfig(losses=str(tmp_path)).losses_sha256 != data.losses_sha256
    with pytest.raises(UsageError, match="not the file that the run began with"):
        assign(index, data)
    other = SampleLosses()
    other.add("x.tar:elsewhere", 1.0, 1)
    other.write(tmp_path / "other.parquet")
    with pytest.raises(UsageError, match="of other shards"):
        assign(index, DataConfig(losses=str(tmp_path / "other.parquet")))
    with pytest.raises(ValueError, match="cannot be read"):
        DataConfig(losses=str(tmp_path / "none.parquet"))


def test_captions_that_are_not_there_are_told(tmp_path):
    path = tar_of(tmp_path / "0.tar", sample("a"))
    data = DataConfig.model_validate({"captions": {"level": "clip"}})
    with pytest.raises(TuneError, match=r"has no caption for data\.captions\.level: clip"):
        assign(build_index([path]), data)


@pytest.fixture(scope="module")
def long_take(footage) -> bytes:
    """A real take of 22 s six times in a row, its packets copied."""
    file = io.BytesIO()
    with av.open(str(footage / "footage/takes/dj4.mp4")) as source, av.open(file, "w", format="mp4") as container:
        stream = source.streams.video[0]
        packets = [packet for packet in source.demux(stream) if packet.dts is not None]
        copy = container.add_stream_from_template(stream)
        for turn in range(6):
            if turn:
                source.seek(0)
                packets = [packet for packet in source.demux(stream) if packet.dts is not None]
            for packet in packets:
                packet.pts += turn * stream.duration
                packet.dts += turn * stream.duration
                packet.stream = copy
                container.mux(packet)
    return file.getvalue()


class Latest(random.Random):
    def randrange(self, stop):
        return stop - 1


def test_a_late_window_of_a_long_take_reads_a_small_part_of_it(tmp_path, long_take):
    before = b"x" * 1000
    path = tar_of(tmp_path / "0.tar", [("a.json", before), ("a.mp4", long_take)])
    member = dict(list_members(path))["a.mp4"]
    tars = Tars()
    assert probe(tars.open(path, member))[0] > 130
    file = tars.open(path, member)
    window = read_window(file, BucketConfig(frames=9, height=64, width=64), 8, Latest())
    assert window.start_s > 130
    assert file.bytes_read < 0.05 * len(long_take)
    # What is read through the view is what the bytes hold.
    same = read_window(io.BytesIO(long_take), BucketConfig(frames=9, height=64, width=64), 8, Latest())
    assert (window.video == same.video).all()


def test_ranks_share_a_step_of_one_bucket(tmp_path, long_take):
    told = {"duration_s": 130.0, "width": 480, "height": 360}
    members = [(f"{key}.{ext}", data) for key in "abcd" for ext, data in (("mp4", long_take), ("txt", b"a"))]
    members += [(f"{key}.json", json.dumps(told).encode()) for key in "abcd"]
    index = build_index([tar_of(tmp_path / "0.tar", members)])
    data = DataConfig(frames=5, fps=8, height=48, width=64, batch_size=2, num_workers=0)
    layout = CausalConfig(block=1, window=2, sink=1)

    def steps(rank: int, world: int, cursor: Cursor) -> list:
        stream = open_batches(index, data, layout, seed=3, cursor=cursor, rank=rank, world=world)
        return [next(stream) for _ in range(2)]

    alone, left, right = steps(0, 1, Cursor()), steps(0, 2, Cursor()), steps(1, 2, Cursor())
    for one, a, b in zip(alone, left, right, strict=True):
        assert one.keys == a.keys + b.keys
        assert one.cursor == a.cursor == b.cursor
        assert one.video[:1].equal(a.video)
        assert one.video[1:].equal(b.video)
    resumed = steps(0, 1, left[0].cursor)
    assert resumed[0].keys == alone[1].keys
    assert resumed[0].video.equal(alone[1].video)
    with pytest.raises(TuneError, match="set it to a multiple of 3"):
        steps(0, 3, Cursor())


def test_a_member_is_a_file(tmp_path):
    path = tar_of(tmp_path / "0.tar", [("a.txt", b"0123456789"), ("b.txt", b"beyond")])
    file = Tars().open(path, Member(512, 10))
    assert file.read(4) == b"0123"
    assert (file.seek(-2, 2), file.read(100), file.read(1)) == (8, b"89", b"")
    assert (file.seek(50), file.read(1)) == (50, b"")
    assert file.bytes_read == 6
