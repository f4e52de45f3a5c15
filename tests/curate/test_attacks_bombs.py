"""Small files that stand for too much: each costs its own row within the limits, and the same process goes on."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import pytest

from curate.analyze import Interval
from curate.sandbox import ChildDiedError, ChildRaisedError, Sandbox
from tests.curate import traps
from tests.curate.films import film, steady

GIB, STALL_S = 1.0, 12.0
PROBES = {"signals": {}, "picture": {}, "stills": {}, "hashes": {}}


def element(name: bytes, body: bytes) -> bytes:
    """Of EBML."""
    size = bytes([0x80 | len(body)]) if len(body) < 127 else b"\x01" + len(body).to_bytes(7, "big")
    return name + size + body


def patched(whole: bytes, atom: bytes, skip: int, form: str, *values: int) -> bytes:
    """An MP4 with numbers of its own in the first atom of a name, `skip` bytes behind its name."""
    data = bytearray(whole)
    struct.pack_into(form, data, data.index(atom) + 4 + skip, *values)
    return bytes(data)


def first(whole: bytes, blob: bytes) -> bytes:
    """A Matroska film with something before all else in its segment, whose size is not told."""
    segment = whole.index(b"\x18\x53\x80\x67")
    return whole[: segment + 4] + b"\x01" + b"\xff" * 7 + blob + whole[segment + 12 :]


def chapters(count: int) -> bytes:
    told = [
        element(b"\xb6", element(b"\x73\xc4", n.to_bytes(4, "big")) + element(b"\x91", n.to_bytes(6, "big")))
        for n in range(1, count + 1)
    ]
    return element(b"\x10\x43\xa7\x70", element(b"\x45\xb9", b"".join(told)))


def tags(count: int) -> bytes:
    told = [element(b"\x67\xc8", element(b"\x45\xa3", b"k%06d" % n) + element(b"\x44\x87", b"v")) for n in range(count)]
    return element(b"\x12\x54\xc3\x67", element(b"\x73\x73", element(b"\x63\xc0", b"") + b"".join(told)))


def nested_tags(depth: int) -> bytes:
    inner = element(b"\x45\xa3", b"k")
    for _ in range(depth):
        inner = b"\x67\xc8\x01" + len(inner).to_bytes(7, "big") + inner
    return element(b"\x12\x54\xc3\x67", element(b"\x73\x73", element(b"\x63\xc0", b"") + inner))


def tracks(count: int) -> bytes:
    sound = element(b"\xe1", element(b"\xb5", struct.pack(">f", 8000)) + element(b"\x9f", b"\x01"))
    told = []
    for number in range(10, 10 + count):
        name = element(b"\xd7", number.to_bytes(4, "big")) + element(b"\x73\xc5", number.to_bytes(4, "big"))
        told.append(element(b"\xae", name + element(b"\x83", b"\x02") + element(b"\x86", b"A_PCM/INT/LIT") + sound))
    return element(b"\x16\x54\xae\x6b", b"".join(told))


def wav(channels: int, rate: int) -> bytes:
    form = struct.pack("<HHIIHH", 1, channels, rate, 0, min(65535, channels * 2), 16)
    return (
        b"RIFF"
        + struct.pack("<I", 10**6)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data\xff\xff\0\0"
        + bytes(65535)
    )


def y4m(width: int, height: int, rate: str, size: int, frames: int = 5) -> bytes:
    return f"YUV4MPEG2 W{width} H{height} F{rate} C420\n".encode() + (b"FRAME\n" + bytes(size)) * frames


def gif(width: int, height: int, frames: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0\0\0\0\xff\xff\xff"
    one = b"\x21\xf9\x04\0\1\0\0\0\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\x02\x02\x44\x01\0"
    return head + one * frames + b"\x3b"


def deep_atoms(whole: bytes, depth: int) -> bytes:
    nest = b"".join(struct.pack(">I4s", 8 * (depth - n) + 8, b"moov") for n in range(depth))
    return struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + nest + whole


def duration(whole: bytes, seconds: float) -> bytes:
    data = bytearray(whole)
    struct.pack_into(">d", data, data.index(b"\x44\x89") + 3, seconds)
    return bytes(data)


def sized(whole: bytes, width: int, height: int) -> bytes:
    data = bytearray(whole)
    struct.pack_into(">HH", data, data.index(b"avc1", data.index(b"stsd")) + 28, width, height)
    return bytes(data)


BOMBS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "claims 65535x65535.mp4": lambda mp4, mkv: sized(mp4, 65535, 65535),
    "claims 16384x16384.mp4": lambda mp4, mkv: sized(mp4, 16384, 16384),
    "png of 65000x65000.mp4": lambda mp4, mkv: traps.png(65000, 65000, bytes(1000)),
    "2 billion samples.mp4": lambda mp4, mkv: patched(mp4, b"stsz", 4, ">II", 1, 2 * 10**9),
    "a billion of one length.mp4": lambda mp4, mkv: patched(mp4, b"stts", 4, ">III", 1, 10**9, 1),
    "pictures that last for ever.mp4": lambda mp4, mkv: patched(mp4, b"stts", 8, ">II", 50, 0x7FFFFFFF),
    "no ticks in a second.mp4": lambda mp4, mkv: patched(mp4, b"mdhd", 12, ">I", 0),
    "all ticks in a second.mp4": lambda mp4, mkv: patched(mp4, b"mdhd", 12, ">I", 0xFFFFFFFF),
    "deep atoms.mp4": lambda mp4, mkv: deep_atoms(mp4, 60_000),
    "chapters.mkv": lambda mp4, mkv: first(mkv, chapters(200_000)),
    "tags.mkv": lambda mp4, mkv: first(mkv, tags(200_000)),
    "nested tags.mkv": lambda mp4, mkv: first(mkv, nested_tags(3_000)),
    "tracks.mkv": lambda mp4, mkv: first(mkv, tracks(20_000)),
    "lasts NaN.mkv": lambda mp4, mkv: duration(mkv, float("nan")),
    "lasts inf.mkv": lambda mp4, mkv: duration(mkv, float("inf")),
    "lasts less than nothing.mkv": lambda mp4, mkv: duration(mkv, -1e300),
    "65535 channels.wav": lambda mp4, mkv: wav(65535, 8000),
    "4 GHz.wav": lambda mp4, mkv: wav(1, 2**32 - 1),
    "4 billion a second.y4m": lambda mp4, mkv: y4m(64, 64, "4294967295:1", 64 * 96),
    "one in 60 years.y4m": lambda mp4, mkv: y4m(64, 64, "1:2000000000", 64 * 96),
    "200000x200000.y4m": lambda mp4, mkv: y4m(200_000, 200_000, "25:1", 64 * 96),
    "2 billion x 1.y4m": lambda mp4, mkv: y4m(2_000_000_000, 1, "25:1", 64 * 96),
    "one wide.y4m": lambda mp4, mkv: y4m(1, 20_000, "25:1", 60_000),
    "two high.y4m": lambda mp4, mkv: y4m(20_000, 2, "25:1", 60_000),
    "65535x65535.gif": lambda mp4, mkv: gif(65535, 65535, 20_000),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("good") / "good.mp4", steady(50), base=Fraction(1, 25))


@pytest.fixture(scope="module")
def matroska(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return film(tmp_path_factory.mktemp("good") / "good.mkv", steady(50), base=Fraction(1, 25)).read_bytes()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    found = Sandbox(GIB, STALL_S)
    yield found
    found.close()


def worked(sandbox: Sandbox, path: Path, deadline_s: float = 60.0) -> int:
    """Rows that the probes made of a file."""
    found = sandbox.call("probe", {"path": str(path)}, deadline_s=deadline_s)[0]["probe"]
    assert 0 <= found["duration_s"] <= 7 * 86_400
    source = {"source_id": "s", "path": str(path), "paths": [str(path)], "user": "{}"} | found
    header = {"source": source, "probes": PROBES, "interval": Interval().dump()}
    tables = sandbox.call("analyze", header, deadline_s=deadline_s)[1]
    return sum(table.num_rows for table in tables.values())


@pytest.mark.parametrize("bomb", BOMBS)
def test_costs_its_own_row(bomb: str, sandbox: Sandbox, good: Path, matroska: bytes, tmp_path: Path) -> None:
    path = tmp_path / bomb
    path.write_bytes(BOMBS[bomb](good.read_bytes(), matroska))
    began = time.monotonic()
    with suppress(ChildRaisedError, ChildDiedError):  # either is a row of errors
        assert worked(sandbox, path) < 10_000
    assert time.monotonic() - began < 10 * STALL_S
    assert worked(sandbox, good) > 50


@pytest.mark.parametrize("last", [25 * 86_400 * 365 * 100, 2**40])
def test_times_that_jump_are_refused(last: int, sandbox: Sandbox, tmp_path: Path) -> None:
    path = film(tmp_path / "jump.nut", [0, 1, 2, 3, last], base=Fraction(1, 25))
    with pytest.raises(ChildRaisedError, match=r"its timestamps span .* more than a week"):
        sandbox.call("probe", {"path": str(path)})


@pytest.mark.parametrize("last", [2**60, 2**62 - 1])
@pytest.mark.parametrize("kind", ["nut", "mov"])
def test_times_beyond_what_a_container_can_say(last: int, kind: str, sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / f"jump.{kind}"
    with suppress(OverflowError, ValueError, OSError):  # what the muxer refuses, it has written up to there
        film(path, [0, 1, 2, 3, last], base=Fraction(1, 25))
    with suppress(ChildRaisedError):
        assert worked(sandbox, path) < 10_000


def test_a_picture_larger_than_the_memory_is_its_own_row(sandbox: Sandbox, good: Path, tmp_path: Path) -> None:
    """Pictures of 8192x8192, each 100 MB, where a child may have 51."""
    path = film(tmp_path / "large.mkv", [0, 1], codec="mjpeg", pix_fmt="yuvj420p", size=(8192, 8192), picture=flat)
    small = Sandbox(0.05, STALL_S)
    try:
        with pytest.raises((ChildRaisedError, ChildDiedError)) as caught:
            worked(small, path)
        assert "memory" in str(caught.value)
        assert worked(small, good) > 50  # in a new child, within the same limit
    finally:
        small.close()


def flat(number: int, width: int, height: int):
    import numpy as np

    return np.zeros((height, width, 3), np.uint8)


def test_processor_time_is_limited_by_the_system(good: Path) -> None:
    """A child whose parent no longer looks is killed by its own limit."""
    import subprocess
    import sys

    work = (
        "import time\nfrom curate import child\nchild._limit_cpu(1)\n"
        "ends = time.monotonic() + 60\nwhile time.monotonic() < ends: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", work], check=False, capture_output=True)
    assert done.returncode == -24  # SIGXCPU
