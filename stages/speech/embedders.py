"""What makes a direction of a voice: CAM++ by default, or an ONNX network of yours.

WeSpeaker's exports (ResNet34-LM, which pyannote uses, ECAPA-TDNN, CAM++) and 3D-Speaker's (ERes2Net, CAM++) are alike
but for names and the window: Kaldi's filter banks of 80 mels in, less their mean over time (no variance), a vector out.
WeSpeaker takes Hamming's window, 3D-Speaker Kaldi's own, Povey's; a file is taken for 3D-Speaker's where its input is
called `feature`, as that project's export calls it, or its metadata say so, as sherpa-onnx's exports do.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from curate.models import Model
from stages import onnx
from stages.speech.networks import CAMPPLUS, DIMENSIONS, MELS, campplus
from stages.speech.sound import RATE

GIVEN = Model("voice embedder", "of your weights")
DEFAULT = "campplus"
HAMMING, POVEY = "hamming", "povey"


class Embedder(Protocol):
    """Makes unit vectors of voices.

    Attributes:
        name: what a row's `model` says of it.
        dimensions: how long the vectors are.
    """

    name: str
    dimensions: int

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """The unit vector of a voice, from (n,) float32 at `RATE` of it alone, a quarter of a second at least."""


class CamPlusPlus:
    """CAM++ as it ships."""

    name, dimensions = CAMPPLUS.name, DIMENSIONS

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        return campplus()(samples)


class Onnx:
    """A network of yours.

    Raises:
        WeightsError: it is missing or another kind of network.
    """

    def __init__(self, path: str, sha256: str | None) -> None:
        network = onnx.opened(GIVEN, path, sha256, inputs=[(None, None, MELS)], outputs=[(None, None)])
        self.name, self._session = network.name, network.session
        self._input = self._session.get_inputs()[0].name
        others = self._input == "feature" or "3d-speaker" in network.told.get("framework", "").lower()
        self._window = POVEY if others else HAMMING
        self.dimensions = len(self(np.zeros(RATE, np.float32)))

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        features = banks(samples * 32768, self._window)
        vector: np.ndarray = self._session.run(None, {self._input: features[None]})[0][0]
        return vector / max(float(np.linalg.norm(vector)), 1e-9)


def banks(samples: np.ndarray, window: str) -> np.ndarray:
    """(frames, 80) float32: Kaldi's log filter banks, 25 ms every 10 ms, without dither, less their mean over time."""
    import kaldi_native_fbank

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = RATE
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = window
    options.mel_opts.num_bins = MELS
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(RATE, samples)
    bank.input_finished()
    found = np.stack([bank.get_frame(n) for n in range(bank.num_frames_ready)])
    return found - found.mean(0)


def fault(given: str) -> str | None:
    """What is not there that a run needs, with the cure."""
    if given == DEFAULT:
        return None
    if not Path(given).expanduser().is_file():
        return f"there is no file {given}; give the path of an .onnx file, or {DEFAULT}"
    if find_spec("onnx") is None:
        return "networks of your own need the package onnx; run: pip install 'longtake[onnx]'"
    return None


@lru_cache(maxsize=2)
def embedder(given: str = DEFAULT, sha256: str | None = None) -> Embedder:
    """`campplus`, or the network in the .onnx file at a path; loaded once a process.

    Raises:
        WeightsError: it cannot be loaded.
    """
    return CamPlusPlus() if given == DEFAULT else Onnx(given, sha256)
