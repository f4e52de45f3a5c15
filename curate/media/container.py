"""How a media file is opened: one local file, containers that hold their own data, and nothing that it points to.

Every other module that reads media opens it here, so that a hostile file has one door to try.
"""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Iterator
from typing import Any

import av
import av.container
import av.stream
import psutil

# Containers that carry their own data. Playlists and manifests (hls, dash, concat, ...) are left out: they make
# libavformat open other files or addresses that the media file names.
CONTAINERS = (
    "3g2,3gp,aiff,asf,av1,avi,dv,flac,flv,gif,h264,hevc,ivf,m4a,m4v,matroska,mj2,mov,mp3,mp4,mpeg,mpegts,"
    "mpegvideo,mxf,nut,obu,ogg,rm,vc1,wav,webm,wtv,yuv4mpegpipe"
)


CONVERT = "convert the file, for example to H.264 in .mp4"


PLENTY = 256 << 20
"""Bytes that no header needs: the index of a day at 60 pictures a second has 100 MB."""


class MediaError(Exception):
    """A media file that cannot be used. The message names what is wrong; the caller names the file."""


def film_stream(container: av.container.InputContainer) -> av.VideoStream:
    """The first video stream that is a film. A cover picture is held as a video stream, too, sometimes the first.

    Raises:
        MediaError: there is none, or none of a codec that FFmpeg knows.
    """
    cover = av.stream.Disposition.attached_pic
    films = [stream for stream in container.streams.video if not stream.disposition & cover]
    for stream in films:
        if stream.codec_context is not None:
            return stream
    if films:
        raise MediaError(f"the pictures are of a codec that cannot be decoded here; {CONVERT}")
    kinds = ", ".join(sorted({"cover" if s.type == "video" else s.type for s in container.streams})) or "nothing"
    raise MediaError(f"no video stream, only {kinds}; leave it out of the inputs")


def demuxed(container: av.container.InputContainer, stream: av.stream.Stream) -> Iterator[Any]:
    """A stream's packets. PyAV stumbles over a packet of a stream that only turns up in mid-file, which is passed over.

    Raises:
        av.error.FFmpegError: the file cannot be read any further.
    """
    while True:
        try:
            yield from container.demux(stream)
        except IndexError:
            continue
        return


def sound_streams(container: av.container.InputContainer) -> list[av.AudioStream]:
    """The audio streams that can be decoded."""
    return [stream for stream in container.streams.audio if stream.codec_context is not None]


def _memory_left() -> float:
    """Bytes that this process may still allocate under its own limit, where it has one."""
    if sys.platform != "linux":
        return 0
    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return math.inf if limit == resource.RLIM_INFINITY else limit - psutil.Process().memory_info().data


def open_media(path: str) -> av.container.InputContainer:
    """Open a local file for reading.

    Raises:
        MediaError: it is empty, no known container, or damaged beyond opening.
    """
    try:
        return av.open(
            f"file:{path}",  # an explicit protocol, so that a colon in a name is no protocol
            container_options={"protocol_whitelist": "file", "format_whitelist": CONTAINERS, "enable_drefs": "0"},
            metadata_errors="replace",
        )
    except MemoryError as error:
        if _memory_left() < PLENTY:
            raise  # the child's limit, not the file's fault
        raise MediaError(
            f"its header asks for more than {PLENTY >> 20} MiB at once, which no film's does; it is damaged"
        ) from error
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(
            f"no readable video container ({reason}); check that the file is complete and plays elsewhere"
        ) from error
