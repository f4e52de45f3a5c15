"""What is said, by recognition, where no subtitles say it.

PocketSphinx comes with its model and needs no download, but hears every second or third word wrong in films: its text
is marked weak, never quoted in captions, and good for its words' times at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from curate.stage import Row
from stages.speech.sound import RATE, Sound

NAME = "pocketsphinx"
FRAME_S = 0.01
LONGEST_S = 20.0
"""What is decoded at once: its search takes memory and time that grow with the length."""
VARIANT = re.compile(r"\(\d+\)$")
NO_WORD = ("<", "[", "+")
"""How the names of silence and noises begin."""


def words(sound: Sound, start_s: float, end_s: float) -> list[Row]:
    """The words of a turn with their times, seconds of the source."""
    found: list[Row] = []
    parts = max(1, int(np.ceil((end_s - start_s) / LONGEST_S)))
    edges = np.linspace(start_s, end_s, parts + 1)
    for from_s, to_s in pairwise(edges):
        found += _decoded(sound, float(from_s), float(to_s))
    return found


def _decoded(sound: Sound, start_s: float, end_s: float) -> Iterator[Row]:
    samples = np.ascontiguousarray(sound.samples[round(start_s * RATE) : round(end_s * RATE)])
    if len(samples) < RATE // 10:
        return
    decoder = _decoder()
    decoder.start_utt()
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()
    for segment in decoder.seg() or ():
        if segment.word.startswith(NO_WORD):
            continue
        yield {
            "text": VARIANT.sub("", segment.word),
            "start_s": start_s + segment.start_frame * FRAME_S,
            "end_s": min(end_s, start_s + (segment.end_frame + 1) * FRAME_S),
        }


@lru_cache(maxsize=1)
def _decoder() -> Any:
    """The recognizer with the model of its package, loaded once a process."""
    from pocketsphinx import Decoder

    return Decoder(samprate=RATE, loglevel="FATAL")
