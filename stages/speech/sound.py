"""The sound of a source as 16 kHz mono, decoded once into a file from which all that listens reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from curate.media.audio import samples
from curate.media.container import open_media, sound_streams
from curate.media.video import Timing

RATE = 16000
"""Samples a second that every network of speech here was trained on."""
NOT_THE_FILM = ("comment", "visual_impaired", "descriptions", "karaoke", "clean_effects")
"""Dispositions of tracks in which somebody else speaks, or nobody."""
SILENT = 2
"""Largest sample, of 32768, up to which a track is digital silence: dither has 1."""


class NoSoundError(Exception):
    """There is nothing to listen to; the message says why."""


@dataclass(frozen=True)
class Sound:
    """A source's sound.

    Attributes:
        samples: (n,) int16 at `RATE`, a memory map: an hour is 115 MB on disk and next to nothing in memory.
        track: which audio track that can be decoded, from 0, of how many.
    """

    samples: np.ndarray
    track: int
    tracks: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE

    def part(self, start: int, end: int) -> np.ndarray:
        """Samples as float32 in -1 to 1."""
        return self.samples[start:end].astype(np.float32) / 32768


def decoded(path: str, timing: Timing, seconds: float, folder: Path, progress: Callable[[float], None]) -> Sound:
    """Decode the film's own audio track, mixed down, into a file in `folder`.

    Args:
        seconds: how long the source is.
        progress: told how far it is, seconds.

    Raises:
        NoSoundError: there is no audio track, nothing of it can be decoded, or it is silent.
    """
    track, tracks = film_track(path)
    place, done, loudest = folder / "sound.pcm", 0, 0
    with place.open("wb") as file:
        for block in samples(path, timing, 0.0, seconds, RATE, "mono", track):
            pcm = (np.clip(np.nan_to_num(block[0]), -1, 1) * 32767).astype("<i2")
            file.write(pcm.tobytes())
            done += len(pcm)
            loudest = max(loudest, int(np.abs(pcm).max(initial=0)))
            progress(done / RATE)
    if not done:
        raise NoSoundError("the audio track holds nothing that could be decoded")
    if loudest <= SILENT:
        raise NoSoundError("the audio track is silent throughout")
    return Sound(np.memmap(place, "<i2", "r"), track, tracks)


def film_track(path: str) -> tuple[int, int]:
    """Which audio track is the film's, from 0, and how many there are: the one marked as default, else the first;
    commentaries and descriptions for the blind only where there is nothing else.

    Raises:
        NoSoundError: there is none.
    """
    with open_media(path) as container:
        streams = sound_streams(container)
        if not streams:
            raise NoSoundError("no audio track" + (" that can be decoded" if container.streams.audio else ""))
        kinds = [stream.disposition for stream in streams]
        others = [any(kind & getattr(av.stream.Disposition, name) for name in NOT_THE_FILM) for kind in kinds]
        default = [bool(kind & av.stream.Disposition.default) for kind in kinds]
        best = min(range(len(kinds)), key=lambda n: (others[n], not default[n], n))
        return best, len(kinds)
