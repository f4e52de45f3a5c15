"""The sound of a clip, encoded beside its pictures."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from curate.media.audio import samples
from curate.media.container import open_media, sound_streams
from curate.media.spans import Reader, Span

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


class AudioTrack:
    """The audio track, encoded a little ahead of the pictures so that the two interleave in the file."""

    AHEAD_S = 0.5

    def __init__(self, box: av.container.OutputContainer, reader: Reader, span: Span, bitrate: int) -> None:
        """
        Args:
            bitrate: bits per second.
        """
        with open_media(reader.path) as probe:
            context = sound_streams(probe)[0].codec_context
            rate = context.sample_rate if context.sample_rate in AAC_RATES else 48000
            layout = "mono" if context.channels == 1 else "stereo"
        self._rate, self._layout, self._box = rate, layout, box
        self._stream = box.add_stream("aac", rate=rate, layout=layout, bit_rate=bitrate)
        self._blocks: Iterator[np.ndarray] | None = samples(
            reader.path, reader.timing, span.start_s, span.end_s, rate, layout
        )
        self._progress, self._start_s = reader.progress, span.start_s
        self._done = 0

    def up_to(self, at_s: float) -> None:
        """Encode sound up to `at_s` seconds into the clip and a little more."""
        while self._blocks is not None and self._done < (at_s + self.AHEAD_S) * self._rate:
            block = next(self._blocks, None)
            if block is None:
                self._blocks = None
                break
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=self._layout)
            frame.sample_rate, frame.pts, frame.time_base = self._rate, self._done, Fraction(1, self._rate)
            self._done += block.shape[1]
            self._progress(self._start_s + self._done / self._rate)
            for packet in self._stream.encode(frame):
                self._box.mux(packet)

    def finish(self) -> float | None:
        """Encode the rest; returns the track's seconds, None where the source has no sound in the span."""
        self.up_to(float("inf"))
        if not self._done:
            return None
        for packet in self._stream.encode():
            self._box.mux(packet)
        return self._done / self._rate
