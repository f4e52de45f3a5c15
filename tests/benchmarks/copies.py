"""The copies of real takes that dedup is judged on: what uploaders and editors do to footage, one change at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av


@dataclass(frozen=True)
class Change:
    """What is done to a take: libavfilter's steps between decoder and encoder, and how it is encoded."""

    steps: Sequence[tuple[str, str]] = ()
    codec: str = "libx264"
    options: tuple[tuple[str, str], ...] = (("crf", "24"), ("preset", "ultrafast"))
    rate: int | None = None
    """Frames per second; none keeps the take's own."""
    span: tuple[float, float] = (0.0, 1.0)
    """Shares of the take's duration between which it is cut out."""


_ROUGH = (("crf", "36"), ("preset", "ultrafast"))
_GRADE = (("curves", "master='0/0 0.25/0.2 0.5/0.6 0.8/0.95 1/1'"), ("hue", "s=1.5:h=12"))
"""More contrast, lighter in the middle, more colourful, and warmer."""

CHANGES: dict[str, Change] = {
    "re-encoded, x264 crf 36": Change(options=_ROUGH),
    "re-encoded, MPEG-4": Change(codec="mpeg4", options=(("qmin", "9"), ("qmax", "9"))),
    "re-encoded, VP8": Change(codec="libvpx", options=(("b", "300k"), ("deadline", "realtime"), ("cpu-used", "12"))),
    "half the size": Change([("scale", "trunc(iw/4)*2:trunc(ih/4)*2")]),
    "other shape (4:3 squeezed)": Change([("scale", "320:240"), ("setsar", "1")]),
    "15 frames/s": Change(rate=15),
    "mirrored": Change([("hflip", "")]),
    "cropped 10 %, centre": Change([("crop", "trunc(iw*0.45)*2:trunc(ih*0.45)*2")]),
    "cropped 10 %, corner": Change([("crop", "trunc(iw*0.45)*2:trunc(ih*0.45)*2:0:0")]),
    "cropped 10 % a side": Change([("crop", "trunc(iw*0.4)*2:trunc(ih*0.4)*2")]),
    "1.25 times as fast": Change([("setpts", "PTS/1.25")]),
    "0.8 times as fast": Change([("setpts", "PTS/0.8")]),
    "1.1 times as fast": Change([("setpts", "PTS/1.1")]),
    "letterboxed": Change([("pad", "iw:trunc(ih*0.65)*2:0:(oh-ih)/2")]),
    "pillarboxed": Change([("pad", "trunc(iw*0.65)*2:ih:(ow-iw)/2:0")]),
    "graded": Change(_GRADE),
    "grey": Change([("hue", "s=0")]),
    "logo and subtitle band": Change(
        [
            ("drawbox", "iw*0.8:ih*0.06:iw*0.14:ih*0.1:white@0.8:fill"),
            ("drawbox", "iw*0.2:ih*0.86:iw*0.6:ih*0.07:black@0.7:fill"),
        ]
    ),
    "sub-span, middle half": Change(span=(0.25, 0.78)),
    "sub-span, last half": Change(span=(0.47, 1.0)),
    "sub-span, shifted by 0.27 s": Change(span=(0.0274, 0.6)),
    "mirrored, cropped, crf 36": Change([("hflip", ""), ("crop", "trunc(iw*0.45)*2:trunc(ih*0.45)*2")], options=_ROUGH),
    "sub-span, graded, half the size, 1.1 times as fast": Change(
        [*_GRADE, ("scale", "trunc(iw/4)*2:trunc(ih/4)*2"), ("setpts", "PTS/1.1")], span=(0.2, 0.85)
    ),
}


def write(take: Path, out: Path, change: Change) -> None:
    """Write a changed copy of a take as silent video."""
    duration_s, own_rate = _facts(take)
    rate = Fraction(change.rate) if change.rate else own_rate
    first_s, end_s = (share * duration_s for share in change.span)
    with av.open(str(out), "w") as box:
        stream = box.add_stream(change.codec, rate=rate, options=dict(change.options))
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(_pictures(take, change, rate, first_s, end_s)):
            if not number:
                stream.width, stream.height = picture.width, picture.height
            picture.pts, picture.time_base = number, 1 / rate
            picture.pict_type = av.video.frame.PictureType.NONE
            box.mux(stream.encode(picture))
        box.mux(stream.encode(None))


def _facts(take: Path) -> tuple[float, Fraction]:
    """Its duration in seconds and its frames per second."""
    with av.open(str(take)) as container:
        rate = container.streams.video[0].average_rate
        assert container.duration is not None
        assert rate is not None
        return container.duration / av.time_base, rate


def _pictures(take: Path, change: Change, rate: Fraction, first_s: float, end_s: float) -> Iterator[av.VideoFrame]:
    with av.open(str(take)) as container:
        source = container.streams.video[0]
        source.thread_type = "AUTO"
        graph = av.filter.Graph()
        steps = [
            graph.add_buffer(template=source),
            graph.add("trim", f"{first_s}:{end_s}"),
            graph.add("setpts", "PTS-STARTPTS"),
            *(graph.add(name, arguments) if arguments else graph.add(name) for name, arguments in change.steps),
            graph.add("fps", str(rate)),
            graph.add("scale", "trunc(iw/2)*2:trunc(ih/2)*2"),
            graph.add("format", "yuv420p"),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*steps).configure()
        for decoded in container.decode(source):
            try:
                graph.push(decoded)
            except av.error.EOFError:  # the span's end has passed
                break
            yield from _pulled(graph)
        else:
            graph.push(None)
        yield from _pulled(graph)


def _pulled(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
