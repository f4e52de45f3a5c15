"""How pictures are encoded: the codecs on offer, and what their libraries must be told."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

import av
from av.codec.context import Flags

Mode = Literal["smart", "encode"]
Codec = Literal["h264", "hevc", "av1"]
Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"]

_SVT_PRESETS = dict(zip(get_args(Preset), (12, 11, 10, 9, 8, 7, 5), strict=True))
"""SVT-AV1's numbers for about the same effort on its own scale."""


@dataclass(frozen=True)
class Encoding:
    """How clips are made."""

    mode: Mode
    """smart: copy what can be copied; encode: encode every picture anew."""
    crf: int
    preset: Preset
    keyframe_s: float
    """Longest distance between keyframes among encoded pictures, seconds."""
    audio_bitrate: int
    """Bits per second."""
    codec: Codec = "h264"
    max_gop_s: float | None = None
    """Longest distance between keyframes among copied pictures, seconds; None is any."""

    @property
    def least_psnr(self) -> float:
        """The PSNR of luma, dB, that an encoded picture must reach beside its original.

        It tells a right picture from a wrong one, not a good one from a bad one: coding at CRF 20 gives about 40 dB,
        another scene 8 to 15 dB. An error as large as the quantiser's step in every coefficient is the worst that
        coding can do; the step is 0.625 * 2^(QP/6), and QP may exceed the CRF by about 6 within a picture.
        """
        qp = (self.crf * 51 / 63 if self.codec == "av1" else self.crf) + 6
        return min(30.0, 20 * math.log10(255 / (0.625 * 2 ** (qp / 6))))


def set_up(
    context: av.VideoCodecContext,
    first: av.VideoFrame,
    base: Fraction,
    fps: float,
    aspect: Fraction | None,
    how: Encoding,
    **x264: int,
) -> None:
    """Make an encoder ready for pictures like `first`, with times in `base` and pixels of the shape `aspect`.

    One thread each: x264's bits depend on how many it has, and tasks run side by side anyway.
    """
    context.options = _options(how, x264)
    context.width, context.height, context.pix_fmt = first.width, first.height, "yuv420p"
    context.framerate = Fraction(fps).limit_denominator(1001)
    context.time_base = base
    context.flags |= Flags.frame_duration  # else every packet is said to last 1/fps, the last one, too
    context.gop_size = max(1, round(how.keyframe_s * fps))
    context.colorspace, context.color_range = first.colorspace, first.color_range
    context.color_primaries, context.color_trc = first.color_primaries, first.color_trc
    if aspect:
        context.sample_aspect_ratio = aspect
    if how.codec == "hevc":
        context.codec_tag = "hvc1"  # the one of HEVC's two marks in MP4 that every player takes


def encoder_name(how: Encoding) -> str:
    """libavcodec's name of the encoder."""
    return {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1"}[how.codec]


def _options(how: Encoding, x264: Mapping[str, int]) -> dict[str, str]:
    crf = {"crf": str(how.crf)}
    if how.codec == "hevc":
        # Closed GOPs, so that a trainer may start reading at any keyframe.
        params = "open-gop=0:pools=none:frame-threads=1:wpp=0:log-level=none"
        return crf | {"preset": how.preset, "x265-params": params}
    if how.codec == "av1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only: it prints its settings for every clip, past any logger
        return crf | {"preset": str(_SVT_PRESETS[how.preset]), "svtav1-params": "lp=1"}
    params = ":".join(f"{name}={value}" for name, value in x264.items())
    return crf | {"preset": how.preset, "threads": "1"} | ({"x264-params": params} if params else {})
