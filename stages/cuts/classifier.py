"""The cascade's classifier: a small temporal convolutional network over the channels of `stages.cuts.evidence`.

It sees 62 frames to either side, has some 80 000 weights, and costs about 0.03 ms a frame in NumPy. Its weights were
fitted on films with known transitions (`tests/benchmarks/cutfit`), which anyone can repeat on footage of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from stages.cuts.evidence import AROUND, channels

KINDS = ("none", "cut", "jump", "dissolve", "fade", "wipe")
"""The classes, in the order of the network's outputs."""
DILATIONS = (1, 2, 4, 8, 16)
"""Distances between the taps of the blocks' convolutions, frames."""
REACH = 2 * sum(DILATIONS) + max(AROUND)
"""How far from a frame its probabilities depend on others, frames; distances looked back over come on top."""
CHUNK = 16384
"""Frames classified at a time, so that memory does not grow with a source's length."""


class WeightsError(Exception):
    """A weights file that does not fit this network."""


class Classifier:
    """Weights, and the probabilities they give."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self._mean, self._spread = weights["mean"], weights["spread"]
        self._inner = weights["in_weight"], weights["in_bias"]
        self._blocks = [
            (weights[f"a{n}_weight"], weights[f"a{n}_bias"], weights[f"b{n}_weight"], weights[f"b{n}_bias"])
            for n in range(len(DILATIONS))
        ]
        self._outer = weights["out_weight"], weights["out_bias"]
        self.calibration = weights["calibration"]
        """What its probabilities are worth, for `cascade.calibrated`."""

    @classmethod
    def load(cls, path: str | Path | None = None) -> Classifier:
        """From an .npz file that `tests.benchmarks.cutfit.train` wrote; the bundled one by default.

        Raises:
            WeightsError: the file is none, or holds another network.
        """
        source = files("stages.cuts").joinpath("classifier.npz") if path is None else Path(path)
        try:
            with source.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                return cls({name: stored[name].astype(np.float32) for name in stored.files})
        except (KeyError, ValueError, OSError, EOFError) as error:
            raise WeightsError(f"{source}: no weights of the cut classifier ({error}); fit them again") from None

    def probabilities(self, frames: int, signals: Callable[[int, int], Mapping[str, np.ndarray]]) -> np.ndarray:
        """How likely each frame belongs to each kind of transition.

        Args:
            frames: how many there are.
            signals: gives the columns of `signals` from a frame up to another, as for `evidence.channels`.

        Returns:
            (frames, kinds) float32, each row summing to 1.
        """
        parts = []
        for start in range(0, frames, CHUNK):
            first, end = max(0, start - REACH), min(frames, start + CHUNK + REACH)
            seen = self.of_channels(channels(signals(first, end)))
            parts.append(seen[start - first : start - first + CHUNK])
        return np.concatenate(parts) if parts else np.empty((0, len(KINDS)), np.float32)

    def of_channels(self, x: np.ndarray) -> np.ndarray:
        """The same from the channels of `evidence`, (frames, channels), all at once."""
        weight, bias = self._inner
        x = np.maximum((x - self._mean) / self._spread @ weight + bias, 0)
        for (a, a_bias, b, b_bias), dilation in zip(self._blocks, DILATIONS, strict=True):
            inner = np.maximum(_convolved(x, a, dilation) + a_bias, 0)
            x = x + np.maximum(_convolved(inner, b, dilation) + b_bias, 0)
        weight, bias = self._outer
        logits = x @ weight + bias
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)


def _convolved(x: np.ndarray, weight: np.ndarray, dilation: int) -> np.ndarray:
    """A convolution over frames with zeros beyond the ends: (frames, in) with (taps, in, out) to (frames, out)."""
    reach = dilation * (len(weight) // 2)
    padded = np.pad(x, ((reach, reach), (0, 0)))
    return sum(padded[n * dilation : n * dilation + len(x)] @ tap for n, tap in enumerate(weight))


@lru_cache(maxsize=1)
def bundled() -> Classifier:
    """The classifier that comes with Longtake."""
    return Classifier.load()
