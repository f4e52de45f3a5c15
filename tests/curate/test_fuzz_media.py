"""Damaged media: every file gives rows that do not contradict themselves, or a refusal that says why.

The long run is `tests/benchmarks/fuzz_media.py`; here are a hundred of its cases, and what it has found so far, made
by code.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import gauntlet
import mutants
import numpy as np
import pyarrow as pa
import pytest
import specimens
from films import Sound, beeps, cut, film, lumas, steady

from curate.media import audio, container
from curate.media.container import MediaError, open_media
from curate.media.probe import FARTHEST_S, LARGEST_PX, LONGEST_S, probe
from curate.media.video import Timing
from curate.sandbox import ChildRaisedError, Sandbox
from schemas import signals
from stages.cuts.stage import Cuts
from stages.speech.sound import NoSoundError, film_track
from stages.speech.subtitles import inside

CHEAP = frozenset(
    "h264.mp4 reordered.mp4 fragmented.mp4 h264.mkv vp9.webm h264.ts mpeg4.avi h264.flv theora.ogv".split()
)


def test_a_hundred_damaged_films(tmp_path: Path) -> None:
    films = [path.read_bytes() for path in specimens.write(tmp_path / "films", CHEAP)]
    (tmp_path / "in").mkdir()
    run = gauntlet.Gauntlet(tmp_path / "out", stall_s=60)
    kinds: dict[str, int] = {}
    try:
        for number in range(100):
            random = np.random.default_rng((2026, number))
            data, how = mutants.mutant(films, random)
            path = tmp_path / "in" / "film.mp4"
            path.write_bytes(data)
            outcome = run.whole(path, str(number)) if number % 25 == 0 else run.quick(path, str(number))
            assert outcome.kind in ("result", "refused"), (number, how, [str(event) for event in outcome.events])
            assert path.read_bytes() == data
            kinds[outcome.kind] = kinds.get(outcome.kind, 0) + 1
    finally:
        run.close()
    assert min(kinds["result"], kinds["refused"]) > 20
    assert gauntlet.files(tmp_path / "in") == {"film.mp4"}


@pytest.mark.parametrize("name", sorted(mutants.MUTATORS))
def test_each_mutator_finds_something_to_damage(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = Path(tmp_path_factory.getbasetemp()) / "specimens"
    films = [path.read_bytes() for path in specimens.write(folder, CHEAP)]
    random = np.random.default_rng(1)
    changed = 0
    for whole in films:
        data = bytearray(whole)
        changed += mutants.MUTATORS[name](data, random) and bytes(data) != whole
    assert changed


def renamed(whole: bytes, old: bytes, new: bytes) -> bytes:
    """An MP4 whose codec is called something else."""
    assert old in whole
    return whole.replace(old, new)


def test_pictures_of_an_unknown_codec_are_refused_by_that(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", steady(5))
    path.write_bytes(renamed(path.read_bytes(), b"avc1", b"zzzz"))
    with pytest.raises(MediaError, match="codec that cannot be decoded here; convert"):
        probe(str(path))


@pytest.fixture
def unknown_sound(tmp_path: Path) -> Path:
    """A film with sound of a codec that nobody knows."""
    path = film(tmp_path / "a.mkv", steady(20), sound=Sound(beeps([0.5], 2.0, 16000), 16000))
    path.write_bytes(renamed(path.read_bytes(), b"A_AAC", b"A_ZZZ"))
    with av.open(str(path)) as box:
        assert [stream.codec_context for stream in box.streams.audio] == [None]
    return path


def test_sound_of_an_unknown_codec_is_no_sound(unknown_sound: Path, tmp_path: Path) -> None:
    assert probe(str(unknown_sound))["audio_codec"] is None
    with pytest.raises(NoSoundError, match="that can be decoded"):
        film_track(str(unknown_sound))
    assert cut(unknown_sound, tmp_path / "out.mp4", 2, 12).written.frames == 10


def test_of_several_sounds_those_that_can_be_decoded_count(unknown_sound: Path) -> None:
    with open_media(str(unknown_sound)) as box:
        assert container.sound_streams(box) == []


def test_subtitles_of_an_unknown_codec_are_passed_over(tmp_path: Path) -> None:
    (path,) = specimens.write(tmp_path, frozenset({"subtitled.mp4"}))
    path.write_bytes(renamed(path.read_bytes(), b"tx3g", b"zzzz"))
    assert inside(str(path), Timing.of(probe(str(path))), None, 2.0) is None


def test_sides_beyond_what_a_clip_may_have_are_refused(tmp_path: Path) -> None:
    path = film(tmp_path / "a.gif", steady(3), codec="gif", pix_fmt="rgb8")
    data = path.read_bytes()
    path.write_bytes(data[:6] + struct.pack("<H", LARGEST_PX + 2) + data[8:])
    with pytest.raises(MediaError, match=f"exceed {LARGEST_PX} px"):
        probe(str(path))


@pytest.mark.parametrize(
    ("stamps", "why"),
    [([0, 1, round(LONGEST_S) + 9], "more than a week"), ([round(FARTHEST_S) + 9, round(FARTHEST_S) + 10], "begin at")],
)
def test_times_that_no_film_has_are_refused(tmp_path: Path, stamps: list[int], why: str) -> None:
    path = film(tmp_path / "a.nut", stamps, base=Fraction(1, 1), codec="ffv1")
    with pytest.raises(MediaError, match=why):
        probe(str(path))


def test_a_header_that_asks_for_gigabytes_is_refused_and_costs_no_child(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", steady(5))
    data = path.read_bytes()
    entries = data.index(b"stts") + 8
    path.write_bytes(data[:entries] + struct.pack(">I", 0x1FFFFFFF) + data[entries + 4 :])
    sandbox = Sandbox(memory_gib=0.5, stall_s=60)
    try:
        for _ in range(2):
            with pytest.raises(ChildRaisedError, match="header asks for more than 256 MiB") as caught:
                sandbox.call("probe", {"path": str(path)})
            assert caught.value.kind == "MediaError"
    finally:
        sandbox.close()


def test_a_gap_of_hours_in_the_sound_is_filled_a_second_at_a_time(tmp_path: Path) -> None:
    rate = 16000
    path = film(tmp_path / "a.mkv", [*steady(10), 400_000], codec="mpeg4", sound=Sound(beeps([0.2], 1, rate), rate))
    source = probe(str(path))
    timing = Timing.of(source)
    done = 0
    for block in audio.samples(str(path), timing, 0.0, source["duration_s"], rate, "mono"):
        assert block.shape[1] <= rate
        done += block.shape[1]
    assert done == round(source["duration_s"] * rate)


def test_a_take_in_which_the_clock_jumps_by_a_day_is_refused(tmp_path: Path) -> None:
    day = 86400 * 90_000
    path = film(tmp_path / "a.nut", [0, 9000, 18000, day, day + 9000], base=Fraction(1, 90_000), codec="ffv1")
    with pytest.raises(MediaError, match="a picture stands for 86400 s at"):
        cut(path, tmp_path / "out.mp4", 0, 5)


def test_a_source_without_a_picture_has_no_boundaries() -> None:
    rows = {"signals": signals.TABLE.schema.empty_table(), "sources": pa.table({})}
    assert list(Cuts().run(rows, None)) == []  # type: ignore[arg-type]


def test_the_films_decode(tmp_path: Path) -> None:
    for path in specimens.write(tmp_path, frozenset({"h264.mp4", "vp9.webm"})):
        assert len(lumas(path)) > 5
