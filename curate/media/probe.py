"""What a media file holds, read from its headers and its packets without decoding a picture.

The first thing that happens to a source. The packet times found here decide whether it can be decoded in intervals.
"""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
import numpy as np

from curate.media.container import CONVERT, MediaError, demuxed, film_stream, open_media, sound_streams

SPLIT_EVERY_S = 5.0
"""Keyframes kept as places to split, seconds apart at least: an all-intra file would otherwise list every frame."""

LOOKBACK_S = 1.0
"""A split is only offered where the pictures since the split before it span more than this, a whole cell of the slowest
probe's grid, so that whoever starts decoding one split early has seen the last sample that a probe may look back on."""

LONGEST_S = 7 * 86400.0
"""A week. What claims more has a timestamp that is damaged; its sound alone would fill 20 GB of scratch space."""

FARTHEST_S = 4e9
"""Recordings that begin at the time of day count from 1970 or, by NTP, from 1900."""

LARGEST_PX = 16384
"""The longest side that x264 encodes: 16K film has 15360 px."""

REWRAP = "write them anew, for example with ffmpeg -fflags +genpts -i IN -c copy OUT.mkv"


def probe(path: str, sound_only: bool = False) -> dict[str, Any]:
    """Columns of `schemas.sources.SOURCES` that describe the file's own content.

    Reads every packet once, so that durations, frame rates and timestamps are what the file really has and not what
    its header claims.

    Args:
        sound_only: whether a file with sound and without pictures will do.

    Raises:
        MediaError: the file has no video that could be read.
    """
    with open_media(path) as container:
        if sound_only and sound_streams(container) and not _has_film(container):
            return _heard(container) | _audio(container)
        stream = film_stream(container)
        pts, durations, key_pts, complete = _packets(container, stream)
        if not len(pts):
            raise MediaError("the video stream has no packets; the file is truncated or still being written")
        _check_clock(int(pts[0]), int(pts[-1]), stream.time_base or Fraction(1, 1000))
        return _describe(container, stream, pts, durations, key_pts, complete, _rotation(path)) | _audio(container)


def _has_film(container: av.container.InputContainer) -> bool:
    try:
        film_stream(container)
    except MediaError:
        return False
    return True


def _heard(container: av.container.InputContainer) -> dict[str, Any]:
    """What the columns about time say of a file with sound only: on the clock of its first audio stream."""
    stream = sound_streams(container)[0]
    base = stream.time_base or Fraction(1, 1000)
    start, end = None, None
    with suppress(av.error.FFmpegError):  # the readable part is used
        for packet in demuxed(container, stream):
            if packet.size and packet.pts is not None:
                start = packet.pts if start is None else min(start, packet.pts)
                end = max(end or packet.pts, packet.pts + (packet.duration or 0))
    if start is None or end is None:
        raise MediaError("the audio stream has no packets; the file is truncated or still being written")
    _check_clock(start, end, base)
    times = {"time_base_num": base.numerator, "time_base_den": base.denominator, "start_pts": start, "rotation": 0}
    return times | {"container": container.format.name, "duration_s": float((end - start) * base), "seekable": False}


def _check_clock(first: int, last: int, base: Fraction) -> None:
    """Refuse times that are no film's: all that is worked out from them later then stays within 64 bits and a disk.

    Raises:
        MediaError: the film would begin or last too long.
    """
    length_s = float((last - first) * base)
    if length_s > LONGEST_S:
        raise MediaError(f"its timestamps span {length_s:.3g} s, more than a week, so they are damaged; {REWRAP}")
    if abs(first * base) > FARTHEST_S:
        raise MediaError(f"its timestamps begin at {float(first * base):.3g} s, so they are damaged; {REWRAP}")


def _packets(
    container: av.container.InputContainer, stream: av.VideoStream
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Timestamps (ticks) of the packets in presentation order, their durations, those of keyframes, all unique?"""
    pts: list[int] = []
    durations: list[int] = []
    keys: list[int] = []
    untimed = 0
    try:
        for packet in demuxed(container, stream):
            if not packet.size or packet.is_discard:
                continue
            stamp = packet.pts
            if stamp is None:
                untimed += 1
                # A raw stream has no times at all, but the length of a picture at its declared rate.
                after = pts[-1] + max(1, packet.duration or 0) if pts else 0
                stamp = packet.dts if packet.dts is not None else after
            pts.append(stamp)
            durations.append(packet.duration or 0)
            if packet.is_keyframe:
                keys.append(stamp)
    except av.error.FFmpegError:
        untimed += 1  # the readable part is used, in one piece
    order = np.argsort(np.array(pts, np.int64), kind="stable")
    ordered = np.array(pts, np.int64)[order]
    unique = len(ordered) > 1 and bool((np.diff(ordered) > 0).all())
    return ordered, np.array(durations, np.int64)[order], np.array(sorted(keys), np.int64), unique and not untimed


def _describe(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    pts: np.ndarray,
    durations: np.ndarray,
    key_pts: np.ndarray,
    complete: bool,
    rotation: int,
) -> dict[str, Any]:
    base: Fraction = stream.time_base or Fraction(1, 1000)
    start = int(pts[0])
    gaps = np.diff(pts)
    typical = int(np.median(gaps)) if len(gaps) else 0
    last = int(durations[-1]) or typical or _ticks(stream, base)
    duration_s = float((int(pts[-1]) - start + last) * base)
    if not stream.codec_context.width or not stream.codec_context.height:
        raise MediaError("the video stream has no picture size; its header is damaged")
    width, height = stream.codec_context.width, stream.codec_context.height
    if max(width, height) > LARGEST_PX:
        raise MediaError(f"its pictures of {width} x {height} px exceed {LARGEST_PX} px a side; {CONVERT}")
    if rotation in (90, 270):
        width, height = height, width
    return {
        "container": container.format.name,
        "codec": stream.codec_context.name,
        "pix_fmt": stream.codec_context.pix_fmt or "unknown",
        "width": width,
        "height": height,
        "rotation": rotation,
        "duration_s": duration_s,
        "packets": len(pts),
        "fps": len(pts) / duration_s if duration_s > 0 else None,
        "variable_rate": bool(len(gaps) and (np.abs(gaps - typical) > max(1.0, 0.01 * typical)).any()),
        "time_base_num": base.numerator,
        "time_base_den": base.denominator,
        "start_pts": start,
        "seekable": complete,
        "split_pts": _splits(pts, key_pts, base),
    }


def _ticks(stream: av.VideoStream, base: Fraction) -> int:
    """One frame's duration from the stream's declared rate, for a file with a single picture."""
    rate = stream.average_rate or stream.base_rate or Fraction(25)
    return max(1, round(1 / (rate * base)))


def _rotation(path: str) -> int:
    """Clockwise degrees that make the picture upright, to the nearest quarter turn.

    The display matrix reaches us as side data of a decoded picture, so the first one is decoded.
    """
    with open_media(path) as container:
        try:
            frame = next(container.decode(film_stream(container)))
        except (av.error.FFmpegError, StopIteration):
            return 0
        return round(-frame.rotation / 90) * 90 % 360


def _splits(pts: np.ndarray, key_pts: np.ndarray, base: Fraction) -> list[int]:
    kept = [int(pts[0])]
    for stamp in key_pts.tolist():
        if stamp - kept[-1] < SPLIT_EVERY_S / base:
            continue
        lead = pts[np.searchsorted(pts, kept[-1]) : np.searchsorted(pts, stamp, "right")]
        if lead[-2] - lead[0] > LOOKBACK_S / base:
            kept.append(stamp)
    return kept


def _audio(container: av.container.InputContainer) -> dict[str, Any]:
    if not sound_streams(container):
        return {"audio_codec": None, "audio_rate": None, "audio_channels": None}
    context = sound_streams(container)[0].codec_context
    return {"audio_codec": context.name, "audio_rate": context.sample_rate, "audio_channels": context.channels}
