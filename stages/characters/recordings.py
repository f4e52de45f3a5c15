"""Recordings in a cast: what the voice of somebody sounds like, to be held against the voices of a source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from curate.media.container import MediaError
from curate.media.probe import probe
from curate.media.video import Timing
from stages.faces.members import CastError, Member
from stages.speech import embedders
from stages.speech.diarization import Turn, turns
from stages.speech.sound import RATE, NoSoundError, Sound, decoded
from stages.speech.stage import Speech

LEAST_S = 1.5
"""A line is embedded from so much of it on: the window of 3D-Speaker, whose network CAM++ is."""
MOST_S = 60.0
"""Of a file that are listened to."""
ALONE = 0.8
"""Share of a file's speech that must be one voice."""
Progress = Callable[[float], None]


def voice(member: Member, folder: Path, progress: Progress) -> np.ndarray:
    """CAM++'s unit vector of the voice in a member's files.

    Args:
        folder: for the decoded sound.

    Raises:
        CastError: a file has no sound that can be decoded, nobody speaks in it, or several do.
    """
    vectors = [_embedded(member, path, folder, progress) for path in member.voices]
    mean = np.mean(vectors, axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9))


def _embedded(member: Member, path: Path, folder: Path, progress: Progress) -> np.ndarray:
    embed, how = embedders.embedder(), Speech()
    sound = _sound(member, path, folder, progress)
    numbers = (how.distance, how.sure_s, how.gap_s, how.line_s, how.vad)
    spoken: defaultdict[int, list[Turn]] = defaultdict(list)
    for turn in turns(sound, embed, *numbers, progress):
        if turn.end_s - turn.start_s >= LEAST_S:
            spoken[turn.voice].append(turn)
    if not spoken:
        raise CastError(f"{member.where}: {path}: nobody speaks in it for {LEAST_S} s; give a longer recording")
    seconds = {number: sum(turn.end_s - turn.start_s for turn in mine) for number, mine in spoken.items()}
    most = max(seconds, key=lambda number: seconds[number])
    if seconds[most] < ALONE * sum(seconds.values()):
        raise CastError(
            f"{member.where}: {path}: {len(seconds)} voices are heard, so it does not say whose is meant; "
            "cut it to the one voice"
        )
    parts = [sound.part(round(turn.start_s * RATE), round(turn.end_s * RATE)) for turn in spoken[most]]
    vectors = [embed(part) for part in parts if len(part)]
    return np.asarray(np.average(vectors, axis=0, weights=[len(part) for part in parts if len(part)]))


def _sound(member: Member, path: Path, folder: Path, progress: Progress) -> Sound:
    try:
        source = probe(str(path), sound_only=True)
        seconds = min(MOST_S, float(source["duration_s"] or MOST_S))
        return decoded(str(path), Timing.of(source), seconds, folder, progress)
    except (NoSoundError, MediaError, OSError, ValueError) as error:
        raise CastError(f"{member.where}: {path}: cannot be listened to ({error}); save it as WAV") from error
