"""The films that the benchmarks are timed on, made from the real takes: cut together, looped, brought to a size."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av

FPS = 24

HD_TAKES = ("cockatoo.mp4", "jesse_dance.mp4", "panda_s1.mp4")
"""The takes of the highest resolution, 1280x720."""


def footage_root(given: Path | None) -> Path:
    """The folder of real footage: `given`, or env LONGTAKE_FOOTAGE, or `../shared` beside the checkout."""
    root = given or Path(os.environ.get("LONGTAKE_FOOTAGE", Path(__file__).parents[3] / "shared"))
    if not (root / "footage" / "takes").is_dir():
        raise SystemExit(f"no footage/takes in {root}; give --footage or set LONGTAKE_FOOTAGE")
    return root / "footage"


def cut_together(takes: Sequence[Path], out: Path, width: int, height: int, shot_s: float, grain: int = 0) -> None:
    """Write the first `shot_s` seconds of each take, hard cuts between, as silent H.264 at 24 fps.

    Each take is scaled to fill the frame and cropped. x264 veryfast, crf 20, as a camera or an editor would upload.

    Args:
        grain: strength of temporal noise put over the pictures (libavfilter's `noise`), so that enlarged footage
            has the detail, the bits and so the cost of decoding of footage that was shot at that size.
    """
    with av.open(str(out), "w") as box:
        options = {"crf": "20", "preset": "veryfast"}
        stream = box.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        number = 0
        for take in takes:
            for picture in _fitted(take, width, height, round(shot_s * FPS), grain):
                picture.pts, picture.time_base = number, Fraction(1, FPS)
                picture.pict_type = av.video.frame.PictureType.NONE
                box.mux(stream.encode(picture))
                number += 1
        box.mux(stream.encode(None))


def _fitted(take: Path, width: int, height: int, frames: int, grain: int) -> Iterator[av.VideoFrame]:
    with av.open(str(take)) as container:
        source = container.streams.video[0]
        source.thread_type = "AUTO"
        graph = av.filter.Graph()
        steps = [
            graph.add_buffer(template=source),
            graph.add("fps", str(FPS)),
            graph.add("scale", f"{width}:{height}:force_original_aspect_ratio=increase:flags=bicubic"),
            graph.add("crop", f"{width}:{height}"),
            graph.add("format", "yuv420p"),
            *([graph.add("noise", f"alls={grain}:allf=t")] if grain else []),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*steps).configure()
        for decoded in container.decode(source):
            graph.push(decoded)
            while frames:
                try:
                    picture = graph.vpull()
                except (av.error.BlockingIOError, av.error.EOFError):
                    break
                frames -= 1
                yield picture
            if not frames:
                return
        raise ValueError(f"{take} is {frames} frames too short")


def looped(film: Path, out: Path, seconds: float) -> None:
    """Write the film's video again and again, packets copied, up to `seconds` of it."""
    with av.open(str(out), "w") as box, av.open(str(film)) as container:
        source = container.streams.video[0]
        target = box.add_stream_from_template(source)
        packets = [p for p in container.demux(source) if p.size]
        stamps = [(p.pts or 0, p.dts or 0) for p in packets]
        length = (packets[0].duration or 0) * len(packets)
        frames = math.ceil(seconds * len(packets) / float(length * (source.time_base or 0)))
        for number in range(frames):
            turn, place = divmod(number, len(packets))
            packet, (pts, dts) = packets[place], stamps[place]
            packet.pts, packet.dts, packet.stream = pts + turn * length, dts + turn * length, target
            box.mux(packet)
