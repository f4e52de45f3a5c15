"""Takes that cannot be copied, or whose copy is not right, are encoded as a whole, and say why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.media import clip as clip_module
from curate.media.verify import VerificationError
from tests.curate.copyable import COPYABLE, MEDIUM, numbered
from tests.curate.films import ENCODE, SMART, assert_right, bars, cut, film, lumas, number_of, steady

REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "raw": (numbered("a.h264", b_frames=2), "no timestamps"),
    "reordered_avi": (
        numbered("a.avi", b_frames=2),
        "not the source's to the bit",
    ),  # its times are decoding times
    "rotated": (numbered("a.mp4", rotation=90), "turned"),
    "ten_bit": (numbered("a.mp4", pix_fmt="yuv420p10le"), "8-bit 4:2:0"),
    "four_four_four": (numbered("a.mp4", pix_fmt="yuv444p"), "8-bit 4:2:0"),
    "interlaced": (numbered("a.mp4", options=MEDIUM | {"x264-params": "tff=1"}), "interlaced"),
    "hevc": (numbered("a.mp4", codec="libx265", options={}), "the source is hevc"),
    "mpeg4": (numbered("a.mp4", codec="mpeg4", options={}), "the source is mpeg4"),
    "vp9": (numbered("a.webm", codec="libvpx-vp9", options={}), "the source is vp9"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_copied_is_encoded(tmp_path: Path, kind: str) -> None:
    make, why = REFUSED[kind]
    clip = cut(make(tmp_path), tmp_path / "clip.mp4", 20, 80)
    assert clip.written.mode == "encode"
    assert why in (clip.written.why or "")
    assert clip.written.encoded == clip.written.frames == 60
    if kind != "rotated":
        assert [number_of(image) for image in lumas(clip.out)] == list(range(20, 80))


@pytest.mark.parametrize("change", [{"size": (192, 128)}, {"options": MEDIUM | {"x264-params": "ref=5:level=4"}}])
def test_parameter_sets_that_change_on_the_way(tmp_path: Path, change: dict[str, Any]) -> None:
    copy = {"mpegts_copyts": "1"}
    how: dict[str, Any] = {"options": MEDIUM, "container_options": copy}
    one = film(tmp_path / "1.ts", steady(60), picture=bars, **how)
    two = film(tmp_path / "2.ts", steady(60, start=60), picture=lambda n, w, h: bars(n + 60, w, h), **(how | change))
    path = tmp_path / "a.ts"
    path.write_bytes(one.read_bytes() + two.read_bytes())
    clip = cut(path, tmp_path / "clip.mp4", 20, 100)
    assert clip.written.why == "the source's parameter sets change on the way"
    assert [number_of(image) for image in lumas(clip.out)] == list(range(20, 100))


@pytest.mark.parametrize(
    ("how", "damaged", "why"),
    [
        (ENCODE, 0, "asked for"),
        (replace(SMART, max_gop_s=0.5), 0, "keyframes are 1.00 s apart, more than 0.5 s"),
        (replace(SMART, codec="hevc"), 0, "only H.264 is copied, and hevc was asked for"),
        (SMART, 3, "3 pictures of the source are damaged"),
    ],
)
def test_reasons_beside_the_source(tmp_path: Path, how: Any, damaged: int, why: str) -> None:
    clip = cut(COPYABLE["two_b"](tmp_path), tmp_path / "clip.mp4", 37, 119, how, damaged)
    assert clip.written.mode == "encode"
    assert why in (clip.written.why or "")
    assert [number_of(image) for image in lumas(clip.out)] == list(range(37, 119))


def test_copy_that_is_not_right_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = COPYABLE["two_b"](tmp_path)
    right, seen = clip_module.verify, []

    def once(*arguments: Any) -> None:
        seen.append(arguments)
        if len(seen) == 1:
            raise VerificationError("made to fail")
        right(*arguments)

    monkeypatch.setattr(clip_module, "verify", once)
    clip = cut(path, tmp_path / "clip.mp4", 37, 119)
    assert clip.written.why == "a copy was not right: made to fail"
    assert_right(clip, 37, 119)


def _without_a_packet(packets: list[Any]) -> list[Any]:
    return packets[:40] + packets[41:]


def test_lost_and_spoilt_pictures_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written goes wrong in each of several ways; no such file is kept."""
    from curate.media import splice

    path = COPYABLE["two_b"](tmp_path)
    copies = splice._copies

    def spoilt(change: Callable[[list[Any]], list[Any]]) -> str | None:
        monkeypatch.setattr(splice, "_copies", lambda *a: change(list(copies(*a))))
        clip = cut(path, tmp_path / "clip.mp4", 37, 119)
        assert clip.written.mode == "encode"
        assert_right(clip, 37, 119)
        return clip.written.why

    assert "not the 82 due" in (spoilt(_without_a_packet) or "")
    assert spoilt(lambda p: [*p[:-1], replace(p[-1], data=p[30].data)])
    assert "to the byte" in (spoilt(lambda p: [*p[:30], replace(p[30], data=p[29].data), *p[31:]]) or "")
    assert spoilt(lambda p: [replace(p[0], data=p[25].data), *p[1:]])
    assert spoilt(lambda p: [*p[:-3], replace(p[-3], data=p[-3].data[:20]), *p[-2:]])


def test_a_real_film_with_damage_is_not_copied_blindly(footage: Path, tmp_path: Path) -> None:
    path = footage / "footage/takes/jesse_dance.mp4"
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(1)
    for place in random.integers(len(data) // 3, len(data) * 2 // 3, 40):
        data[place] = random.integers(256)
    spoilt = tmp_path / "a.mp4"
    spoilt.write_bytes(data)
    clip = cut(spoilt, tmp_path / "clip.mp4", 0, 200, SMART, damaged=1)
    assert clip.written.mode == "encode"
    assert clip.written.frames == 200
