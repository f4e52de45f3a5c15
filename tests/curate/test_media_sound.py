"""Sound stays in sync: a beep and a flash that come together in the source come together in the clip."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from curate.media.audio import samples
from curate.media.probe import probe
from curate.media.video import Timing
from tests.curate.films import Cut, Sound, beeps, cut, film, flash, lumas, stamps, steady

SYNC_S = 0.01
"""Less than half an audio frame (23 ms of AAC at 44.1 kHz)."""

LENGTH_S = 12.0
MARKS_S = (1.0, 5.0, 7.0, 9.0)
"""When the film flashes and beeps."""


def heard(path: Path) -> list[float]:
    """When beeps begin, seconds on the file's clock, by PyAV alone."""
    times, silent_until = [], float("-inf")
    with av.open(str(path)) as box:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=48000)
        for frame in box.decode(audio=0):
            start_s = frame.time
            for block in resampler.resample(frame):
                loud = np.flatnonzero(np.abs(block.to_ndarray()[0]) > 0.1)
                for at_s in start_s + loud / 48000:
                    if at_s > silent_until:
                        times.append(float(at_s))
                    silent_until = at_s + 0.03
                start_s += block.samples / 48000
    return times


def seen(path: Path) -> list[float]:
    """When flashes begin, seconds on the file's clock."""
    light = [image.mean() > 128 for image in lumas(path)]
    return [
        float(at_s) for at_s, on, before in zip(stamps(path), light, [False, *light], strict=False) if on and not before
    ]


def flashing(path: Path, sound: Sound, **options: object) -> Path:
    """A film of 25 frames a second that flashes at MARKS_S."""
    codec = "mpeg4" if path.suffix == ".avi" else "libx264"
    pts = [round(n * 0.04 * 1000) for n in range(round(LENGTH_S * 25))]
    return film(
        path,
        pts,
        base=Fraction(1, 1000),
        codec=codec,
        sound=sound,
        picture=flash({round(m * 25) for m in MARKS_S}),
        **options,
    )


def assert_in_sync(clip: Cut, expected_s: tuple[float, ...], heard_from: int = 0) -> None:
    flashes, found = seen(clip.out), heard(clip.out)
    assert flashes == pytest.approx(expected_s, abs=0.001)
    assert found == pytest.approx(flashes[heard_from:], abs=SYNC_S)


SOUNDS = {
    "mp4_aac": (".mp4", 44100, "aac", "mono"),
    "mp4_aac_stereo": (".mp4", 48000, "aac", "stereo"),
    "mp4_aac_surround": (".mp4", 48000, "aac", "5.1"),
    "mp4_aac_8k": (".mp4", 8000, "aac", "mono"),
    "mp4_aac_11k": (".mp4", 11025, "aac", "mono"),
    "mkv_opus": (".mkv", 48000, "libopus", "stereo"),
    "mkv_flac_96k": (".mkv", 96000, "flac", "stereo"),
    "mkv_pcm_37k": (".mkv", 37800, "pcm_s16le", "mono"),
    "mov_pcm": (".mov", 44100, "pcm_s16le", "stereo"),
    "ts_aac": (".ts", 48000, "aac", "stereo"),
    "ts_ac3_surround": (".ts", 48000, "ac3", "5.1"),
    "mp4_mp3": (".mp4", 44100, "libmp3lame", "stereo"),
    "avi_pcm": (".avi", 22050, "pcm_s16le", "mono"),
}


@pytest.mark.parametrize("kind", SOUNDS)
def test_in_sync(tmp_path: Path, kind: str) -> None:
    suffix, rate, codec, layout = SOUNDS[kind]
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    path = flashing(
        tmp_path / f"a{suffix}", Sound(beeps(MARKS_S, LENGTH_S, rate, channels), rate, codec, layout=layout)
    )
    clip = cut(path, tmp_path / "clip.mp4", 113, 250)  # 4.52 s to 10 s
    assert_in_sync(clip, (0.48, 2.48, 4.48))
    assert clip.written.audio_s == pytest.approx(5.48, abs=0.001)
    found = probe(str(clip.out))
    assert (found["audio_codec"], found["audio_channels"]) == ("aac", 1 if layout == "mono" else 2)


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4"])
@pytest.mark.parametrize("start_s", [-0.3, 0.37])
def test_in_sync_where_sound_and_picture_start_apart(tmp_path: Path, suffix: str, start_s: float) -> None:
    """The sound's first sample is at `start_s` on the picture's clock."""
    marks = [mark - start_s for mark in MARKS_S]
    sound = Sound(beeps(marks, LENGTH_S, 48000), 48000, start_s=start_s)
    path = flashing(tmp_path / f"a{suffix}", sound)
    assert heard(path) == pytest.approx(seen(path), abs=SYNC_S)  # the film itself is in sync
    whole = cut(path, tmp_path / "whole.mp4", 0, 150)
    assert_in_sync(whole, (1.0, 5.0))
    assert_in_sync(cut(path, tmp_path / "clip.mp4", 113, 250), (0.48, 2.48, 4.48))


def test_sound_that_ends_early_is_silent_after(tmp_path: Path) -> None:
    path = flashing(tmp_path / "a.mp4", Sound(beeps(MARKS_S, 6.0, 48000), 48000))
    clip = cut(path, tmp_path / "clip.mp4", 113, 250)
    assert heard(clip.out) == pytest.approx([0.48], abs=SYNC_S)
    assert clip.written.audio_s == pytest.approx(5.48, abs=0.001)


@pytest.mark.parametrize("start_s", [0.0, 11.0])
def test_span_without_sound_has_none(tmp_path: Path, start_s: float) -> None:
    """The sound is over before the clip begins, or begins when it is over."""
    path = flashing(tmp_path / "a.mkv", Sound(beeps([0.1], 0.8, 48000), 48000, start_s=start_s))
    clip = cut(path, tmp_path / "clip.mp4", 113, 250)
    assert clip.written.audio_s is None
    assert len(lumas(clip.out)) == 137
    assert probe(str(clip.out))["audio_codec"] is None


def test_sound_that_begins_late_is_silent_before(tmp_path: Path) -> None:
    path = flashing(tmp_path / "a.mkv", Sound(beeps([0.5, 2.5], 4, 48000), 48000, start_s=6.5))
    clip = cut(path, tmp_path / "clip.mp4", 113, 250)
    assert_in_sync(clip, (0.48, 2.48, 4.48), heard_from=1)


def test_sound_with_a_hole_keeps_its_place(tmp_path: Path) -> None:
    """Packets lost between two beeps must not draw the second one nearer."""
    path = flashing(tmp_path / "a.mkv", Sound(beeps(MARKS_S, LENGTH_S, 48000), 48000, "libopus"))
    holed = tmp_path / "holed.mkv"
    with av.open(str(path)) as source, av.open(str(holed), "w") as box:
        streams = {s.index: box.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is None or (packet.stream.type == "audio" and 5.5 < packet.pts * packet.time_base < 6.5):
                continue
            packet.stream = streams[packet.stream.index]
            box.mux(packet)
    assert_in_sync(cut(holed, tmp_path / "clip.mp4", 113, 250), (0.48, 2.48, 4.48))


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "aac"), (".mkv", "libopus"), (".ts", "aac"), (".mkv", "flac")])
def test_damaged_sound_does_not_take_the_clip_out(tmp_path: Path, suffix: str, codec: str) -> None:
    path = flashing(tmp_path / f"a{suffix}", Sound(beeps(MARKS_S, LENGTH_S, 48000), 48000, codec))
    with av.open(str(path)) as box:
        packets = [bytes(p) for p in box.demux(audio=0) if p.size > 40 and 5.5 < p.pts * p.time_base < 6.5]
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(3)
    for packet in packets:
        first = data.index(packet[:40])
        data[first : first + 40] = random.bytes(40)
    path.write_bytes(data)
    clip = cut(path, tmp_path / "clip.mp4", 113, 250)
    assert clip.written.frames == 137
    assert clip.written.audio_s == pytest.approx(5.48, abs=0.001)
    found = heard(clip.out)
    assert found[0] == pytest.approx(0.48, abs=SYNC_S)
    assert found[-1] == pytest.approx(4.48, abs=SYNC_S)


def test_sound_whose_format_changes_on_the_way(tmp_path: Path) -> None:
    """As in a broadcast, from a film in stereo to an advertisement in mono."""
    copy = {"mpegts_copyts": "1"}
    mono = beeps([1.0, 3.0], 6.0, 44100)
    parts = [
        film(tmp_path / "1.ts", steady(60), sound=Sound(beeps([1, 5], 6, 48000, 2), 48000, layout="stereo"),
             picture=flash({10, 50}), container_options=copy),
        film(tmp_path / "2.ts", steady(60, start=60), sound=Sound(mono, 44100, start_s=6.0),
             picture=flash({10, 30}), container_options=copy),
    ]  # fmt: skip
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    clip = cut(path, tmp_path / "clip.mp4", 40, 110)
    assert len(seen(clip.out)) == 3
    assert heard(clip.out) == pytest.approx(seen(clip.out), abs=SYNC_S)


def test_real_damaged_sound(footage: Path, tmp_path: Path) -> None:
    clip = cut(footage / "footage/broken/failing_audio.mp4", tmp_path / "clip.mp4", 50, 200)
    assert clip.written.frames == 150
    assert clip.written.audio_s == pytest.approx(6.0, abs=0.001)


def test_samples_cover_the_span_exactly(tmp_path: Path) -> None:
    sound = Sound(beeps(MARKS_S, LENGTH_S, 44100), 44100)
    path = flashing(tmp_path / "a.mp4", sound)
    timing = Timing.of(probe(str(path)))
    for start_s, end_s, rate in ((0.0, 12.0, 44100), (0.9, 1.2, 16000), (4.013, 9.777, 16000), (8.5, 9.5, 48000)):
        got = np.concatenate(list(samples(str(path), timing, start_s, end_s, rate, "mono")), axis=1)
        assert got.shape == (1, round((end_s - start_s) * rate))
        inside = [mark for mark in MARKS_S if start_s <= mark < end_s]
        first = np.flatnonzero(np.abs(got[0]) > 0.1)[0] / rate
        assert first == pytest.approx(inside[0] - start_s, abs=0.003)


def test_stereo_stays_apart(tmp_path: Path) -> None:
    """Left beeps first, right later: the sides must not be swapped or mixed."""
    left, right = beeps([5.0], LENGTH_S, 48000), beeps([7.0], LENGTH_S, 48000)
    path = flashing(tmp_path / "a.mp4", Sound(np.concatenate([left, right]), 48000, layout="stereo"))
    clip = cut(path, tmp_path / "clip.mp4", 113, 250)
    with av.open(str(clip.out)) as box:
        got = np.concatenate([f.to_ndarray() for f in box.decode(audio=0)], axis=1)
    loud = np.abs(got) > 0.1
    assert loud[0].argmax() / 48000 == pytest.approx(0.48, abs=SYNC_S)
    assert loud[1].argmax() / 48000 == pytest.approx(2.48, abs=SYNC_S)
