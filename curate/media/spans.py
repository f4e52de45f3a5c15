"""A take inside a source, and the decode that successive takes share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from curate.media.container import film_stream, open_media
from curate.media.frame import Frame
from curate.media.video import Decode, Timing

LONGEST_PICTURE_S = 3600.0
"""How long a picture of a clip may stand, seconds: a broadcast's clock may jump by a day, and a clip of that would be
filled with as much silence."""


@dataclass(frozen=True)
class Span:
    """A take inside a source."""

    start_pts: int
    end_pts: int
    """Timestamp at which its last frame's display ends."""
    start_s: float
    end_s: float
    lead_pts: int
    """Keyframe from which decoding starts."""
    frames: int
    """Pictures that the analysis saw in it."""


class Reader:
    """Decodes one source for several clips: a clip that begins soon after the last goes on from there.

    Spans are asked for in the order of their starts. A new decode begins only where a clip's own lead lies ahead.
    """

    def __init__(
        self,
        path: str,
        timing: Timing,
        fps: float,
        audio: bool,
        damaged: int = 0,
        progress: Callable[[float], None] = lambda _: None,
    ) -> None:
        """
        Args:
            fps: mean frame rate, for an encoder's rate control and keyframe distance.
            audio: whether there is an audio stream.
            damaged: pictures, anywhere in the source, that did not decode well.
            progress: called with the source's time in seconds as it goes.
        """
        self.path, self.timing, self.fps, self.audio = path, timing, fps, audio
        self.damaged, self.progress = damaged, progress
        self._decode = Decode(path, timing)
        self._frames: Iterator[Frame] = iter(())
        self._next: Frame | None = None

    @cached_property
    def aspect(self) -> Fraction | None:
        """Width to height of a pixel of the upright picture; None where the source does not say."""
        with open_media(self.path) as container:
            aspect = film_stream(container).sample_aspect_ratio
        return 1 / aspect if aspect and self.timing.rotation in (90, 270) else aspect or None

    def frames(self, span: Span) -> Iterator[Frame]:
        """The frames of a span, in order."""
        return self.between(span.start_pts, span.end_pts, span.lead_pts)

    def between(self, start_pts: int, end_pts: int, lead_pts: int) -> Iterator[Frame]:
        """The frames with start_pts <= pts < end_pts, decoded from the keyframe at `lead_pts` or from further back."""
        if self._next is None or not lead_pts <= self._next.pts <= start_pts:
            self._decode = Decode(self.path, self.timing, start_pts=start_pts, lead_pts=lead_pts)
            self._frames, self._next = iter(self._decode), None
        self._decode.wanted_pts = start_pts
        if self._next is None:
            self._next = next(self._frames, None)
        while self._next is not None and self._next.pts < end_pts:
            frame, self._next = self._next, None  # should decoding fail, the next clip starts afresh
            self._next = next(self._frames, None)
            self.progress(frame.t_s)
            if frame.pts >= start_pts:
                yield frame
