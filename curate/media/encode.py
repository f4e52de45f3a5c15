"""Writes one take with every picture encoded anew: possible for any source, and dear.

Pictures are decoded from the keyframe before the take. Timestamps are kept, so variable frame rates survive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import av

from curate.media.audio_track import AudioTrack
from curate.media.blur import blurred
from curate.media.container import MediaError
from curate.media.encoder import Encoding, encoder_name, set_up
from curate.media.frame import Frame, converted, cropped
from curate.media.spans import LONGEST_PICTURE_S, Reader, Span
from curate.media.verify import Intended, Proof, pixels

Box = tuple[float, float, float, float]

MP4 = {"movflags": "+faststart", "fflags": "+bitexact"}
"""Index first, for readers that stream; no times or versions, so that equal clips are equal files."""


Hide = Callable[[float], Sequence[Box]]
"""The places to blur at a time of the source, seconds: x0, y0, x1, y1 as shares of the upright picture's sides."""


def encode_clip(
    reader: Reader, span: Span, how: Encoding, out: Path, box: Box | None = None, hide: Hide | None = None
) -> Intended:
    """Encode a span of the reader's source into the MP4 file `out`.

    Args:
        box: the part of each picture that is kept, x0, y0, x1, y1 as shares of its sides; None keeps all.
        hide: what is blurred in each picture.

    Raises:
        MediaError: no picture of the span could be decoded.
    """
    timing = reader.timing
    frames = reader.frames(span)
    current = next(frames, None)
    if current is None:
        raise MediaError(f"no picture between {span.start_s:.3f} s and {span.end_s:.3f} s could be decoded again")
    whole = current.upright()

    def shown(frame: Frame) -> av.VideoFrame:
        # A broadcast may change its size on the way; the clip has one, the first.
        picture = converted(frame.upright(), width=whole.width, height=whole.height)
        picture = blurred(picture, hide(timing.seconds(frame.pts))) if hide else picture
        return cropped(picture, box) if box else picture

    first = shown(current)
    proofs = [Proof(0, pixels(first))]
    times: list[int] = []
    durations: dict[int, int] = {}
    with av.open(str(out), "w", format="mp4", container_options=MP4) as file:
        video = cast(av.VideoStream, file.add_stream(encoder_name(how)))
        set_up(video.codec_context, first, timing.base, reader.fps, reader.aspect, how)
        sound = AudioTrack(file, reader, span, how.audio_bitrate) if reader.audio else None

        def mux(packets: list[av.Packet]) -> None:
            for packet in packets:
                packet.duration = durations.pop(packet.pts or 0)  # not every encoder hands it through
                file.mux(packet)

        while current is not None:
            following = next(frames, None)
            picture = shown(current) if times else first
            picture.pts = current.pts - span.start_pts
            picture.time_base = timing.base
            picture.duration = (following.pts if following else span.end_pts) - current.pts
            if picture.duration * timing.base > LONGEST_PICTURE_S:
                raise MediaError(
                    f"a picture stands for {float(picture.duration * timing.base):.0f} s at {current.t_s:.3f} s, more "
                    "than an hour, so the source's timestamps are damaged there"
                )
            picture.pict_type = av.video.frame.PictureType.NONE
            durations[picture.pts] = picture.duration
            mux(video.encode(picture))
            times.append(picture.pts)
            if sound:
                sound.up_to(timing.seconds(current.pts) - span.start_s)
            if following is None and len(times) > 1:
                proofs.append(Proof(len(times) - 1, pixels(picture)))
            current = following
        mux(video.encode())
        audio_s = sound.finish() if sound else None
    return Intended(times, timing.base, [], proofs, first.width, first.height, len(times), audio_s)
