"""How a media file is opened: one local file, containers that hold their own data, and nothing that it points to.

Every other module that reads media opens it here, so that a hostile file has one door to try.
"""

from __future__ import annotations

import av
import av.container
import av.stream

# Containers that carry their own data. Playlists and manifests (hls, dash, concat, ...) are left out: they make
# libavformat open other files or addresses that the media file names.
CONTAINERS = (
    "3g2,3gp,aiff,asf,av1,avi,dv,flac,flv,gif,h264,hevc,ivf,m4a,m4v,matroska,mj2,mov,mp3,mp4,mpeg,mpegts,"
    "mpegvideo,mxf,nut,obu,ogg,rm,vc1,wav,webm,wtv,yuv4mpegpipe"
)


class MediaError(Exception):
    """A media file that cannot be used. The message names what is wrong; the caller names the file."""


def film_stream(container: av.container.InputContainer) -> av.VideoStream:
    """The first video stream that is a film. A cover picture is held as a video stream, too, sometimes the first.

    Raises:
        MediaError: there is none.
    """
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover:
            return stream
    kinds = ", ".join(sorted({"cover" if s.type == "video" else s.type for s in container.streams})) or "nothing"
    raise MediaError(f"no video stream, only {kinds}; leave it out of the inputs")


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
    except MemoryError:
        raise  # the child's limit, not the file's fault
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(
            f"no readable video container ({reason}); check that the file is complete and plays elsewhere"
        ) from error
