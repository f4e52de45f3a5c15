"""The sound of one span of a source as samples on the picture's clock, gaps filled with silence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np

from curate.media.container import demuxed, open_media, sound_streams
from curate.media.video import Timing

LEAD_S = 1.0
"""Decoding starts this much early: codecs such as AAC and Opus need a few packets before their output is right."""

JITTER_S = 0.02
"""Timestamps may miss the running sample count by this much (containers round them); beyond it is a real gap."""


def samples(
    path: str, timing: Timing, start_s: float, end_s: float, rate: int, layout: str, track: int = 0
) -> Iterator[np.ndarray]:
    """Yield float32 blocks (channels, n) that together cover exactly [start_s, end_s) of an audio stream.

    Args:
        track: which of the audio streams that can be decoded.

    Packets that cannot be decoded leave silence. Yields nothing where the source has no sound in the span.
    """
    wanted = round((end_s - start_s) * rate)
    done = 0
    zero_s = timing.start_pts * timing.base + start_s
    with open_media(path) as container:
        stream = sound_streams(container)[track]
        if zero_s > LEAD_S:
            target = max(0, int((zero_s - LEAD_S) / (stream.time_base or Fraction(1, 1000))))
            with suppress(av.error.FFmpegError):  # some demuxers refuse a time before the first sound: read from there
                container.seek(target, stream=stream, backward=True)
        channels = av.AudioLayout(layout).nb_channels
        due: int | None = None
        for block, at_s in _blocks(container, stream, rate, layout):
            place = round((at_s - float(zero_s)) * rate)
            if due is not None and abs(place - due) <= JITTER_S * rate:
                place = due
            due = place + block.shape[1]
            if place >= wanted:
                break
            if place > done:
                yield from _silence(channels, place - done, rate)
                done = place
            part = block[:, max(0, done - place) : wanted - place]
            if part.shape[1]:
                yield part
                done += part.shape[1]
            if done >= wanted:
                return
        if 0 < done < wanted:
            yield from _silence(channels, wanted - done, rate)


def _silence(channels: int, samples: int, rate: int) -> Iterator[np.ndarray]:
    """A second at a time: a gap in a broadcast's clock may be a day long."""
    for done in range(0, samples, rate):
        yield np.zeros((channels, min(rate, samples - done)), np.float32)


def _blocks(
    container: av.container.InputContainer, stream: av.AudioStream, rate: int, layout: str
) -> Iterator[tuple[np.ndarray, float]]:
    """Decoded blocks with the time of their first sample, seconds on the container's clock."""
    end_s = 0.0
    kind: tuple[str, str, int] | None = None
    packets = demuxed(container, stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except (av.error.FFmpegError, EOFError):
            continue  # a damaged packet becomes a gap; a demuxer that cannot go on ends at the next call
        for frame in frames:
            now = (frame.format.name, frame.layout.name, frame.sample_rate)
            if now != kind:  # a broadcast may change its sound on the way; a resampler takes one kind only
                kind, resampler = now, av.AudioResampler(format="fltp", layout=layout, rate=rate)
            at_s = frame.time if frame.time is not None else end_s
            for resampled in resampler.resample(frame):
                block = resampled.to_ndarray()
                yield block, at_s
                at_s += block.shape[1] / rate
            end_s = at_s
