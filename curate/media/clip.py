"""Writes one take as a file of its own, exact to the frame, with its sound in sync, and looks at what was written.

Where the source allows it the packets of the take are copied and only its ends encoded anew; else all of it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av

from curate.folder import storage_fault
from curate.media.container import CONVERT, MediaError
from curate.media.copy_plan import CannotCopyError, copy_plan
from curate.media.encode import Box, Hide, encode_clip
from curate.media.encoder import Encoding, Mode
from curate.media.h264 import MalformedError
from curate.media.spans import Reader, Span
from curate.media.splice import splice_clip
from curate.media.verify import Intended, VerificationError, verify


@dataclass(frozen=True)
class Written:
    """What a written clip holds."""

    frames: int
    encoded: int
    """Of these, pictures that were encoded anew."""
    width: int
    height: int
    duration_s: float
    audio_s: float | None
    mode: Mode
    """smart: copied but for its ends; encode: every picture encoded anew."""
    why: str | None
    """Why it is not copied; None where it is."""


def write_clip(
    reader: Reader, span: Span, how: Encoding, out: Path, box: Box | None = None, hide: Hide | None = None
) -> Written:
    """Write a span of the reader's source into the MP4 file `out`, and verify it.

    Args:
        box: the part of each picture that is kept, x0, y0, x1, y1 as shares of its sides; None keeps all. A part
            cannot be copied.
        hide: what is blurred in each picture; then none is copied.

    Raises:
        MediaError: the source has other pictures there than the analysis saw, or what was written is not right.
    """
    try:
        made, why = _spliced(reader, span, how, out, box, hide), None
    except (CannotCopyError, MalformedError) as error:
        made, why = None, str(error)
    except MemoryError:
        raise  # the child's limit, not the file's fault
    except (VerificationError, av.error.FFmpegError) as error:
        if storage_fault(error):
            raise  # not the copy's fault: written again, with more space, it would be another clip
        made, why = None, f"a copy was not right: {error}"
    if made is None:
        out.unlink(missing_ok=True)
        made = _encoded(reader, span, how, out, box, hide)
        if len(made.times) != span.frames:
            raise MediaError(
                f"{len(made.times)} pictures were decoded where the analysis saw {span.frames}; "
                "the source has changed or is damaged there"
            )
        verify(out, made, how.least_psnr, partial(reader.progress, span.end_s))
    return Written(
        len(made.times),
        made.encoded,
        made.width,
        made.height,
        float((span.end_pts - span.start_pts) * made.base),
        made.audio_s,
        "encode" if why else "smart",
        why,
    )


def _encoded(reader: Reader, span: Span, how: Encoding, out: Path, box: Box | None, hide: Hide | None) -> Intended:
    try:
        return encode_clip(reader, span, how, out, box, hide)
    except (MemoryError, OSError):
        raise  # the child's limit, or the disk's: not the file's fault
    except (av.error.FFmpegError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise MediaError(
            f"a clip cannot hold the pictures or times that the source has there ({why}); {CONVERT}"
        ) from error


def _spliced(reader: Reader, span: Span, how: Encoding, out: Path, box: Box | None, hide: Hide | None) -> Intended:
    if hide:
        raise CannotCopyError("faces were blurred")
    if box:
        raise CannotCopyError("a part of the picture was cut off")
    if how.mode == "encode":
        raise CannotCopyError("asked for")
    if how.codec != "h264":
        raise CannotCopyError(f"only H.264 is copied, and {how.codec} was asked for")
    if reader.damaged:
        raise CannotCopyError(f"{reader.damaged} pictures of the source are damaged")
    plan = copy_plan(reader.path, reader.timing, span, how.max_gop_s)
    made = splice_clip(reader, span, plan, how, out)
    verify(out, made, how.least_psnr, partial(reader.progress, span.end_s))
    return made
