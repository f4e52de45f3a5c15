"""Technical quality of a clip as people mind it: a NIMA network on stills, where its weights are given.

NIMA (Talebi and Milanfar, arXiv:1709.05424) guesses how people's votes of 1 to 10 spread. Trained on TID2013 it judges
noise, blur and compression. No package ships such weights, so without them the score is null. Networks that look at
motion, too (DOVER, FAST-VQA), know more; none of them runs from a package either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import cv2
import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.models import Model, WeightsError, device, load_into
from curate.stage import Row, RowStage, Workspace
from schemas import Table, aesthetics
from stages import looks
from stages.stills import opened

if TYPE_CHECKING:
    import torch

NIMA = Model("nima_mobilenet_v2", "of your weights")
"""MobileNetV2 of torchvision with ten outputs; nobody publishes weights for just this, so they are your own."""
SIDE, BATCH = 224, 16
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
"""Of ImageNet's colours in RGB, 0 to 1, with which torchvision's networks are trained."""
VOTES = np.arange(1, 11)


class Technical(RowStage):
    """Scores stills of a clip. About 60 ms a still on one core."""

    name: ClassVar[str] = "technical"
    writes: ClassVar[Table] = aesthetics.TECHNICAL
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"clips": looks.CLIP, "stills": ("t_s", "jpeg")}
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {"screening": looks.SCREENING}

    weights: str | None = None
    """The network: none (every score is null), or the path of a .safetensors or PyTorch file with the tensors of
    torchvision's `mobilenet_v2(num_classes=10)`, trained on votes of 1 to 10."""
    weights_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{8,64}$")
    """What the file must hash to, its first digits at least; none takes any."""
    stills: int = Field(8, ge=1, le=1024)
    """At most as many stills of a clip are scored, spread evenly: quality changes slowly within a take."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        times = inputs["stills"].column("t_s").to_numpy()
        jpegs = inputs["stills"].column("jpeg")
        for clip, out in looks.looked_at(inputs):
            row: Row = {"clip_id": clip["clip_id"], "source_id": clip["source_id"], "looks": 0}
            chosen = looks.spread(looks.inside(times, clip), self.stills)
            if self.weights is None:
                yield row | {"unmeasured": "no weights of a NIMA network are given; set technical.weights"}
            elif out or not chosen:
                yield row | {"unmeasured": out or "no still lies inside the clip"}
            else:
                votes = _votes([opened(jpegs[n].as_py()) for n in chosen], self.weights, self.weights_sha256)
                work.progress(clip["end_s"])
                yield row | {"model": NIMA.name} | _summary(votes)


def _summary(votes: np.ndarray) -> Row:
    """Out of (stills, 10) shares of the votes."""
    sound = votes[np.isfinite(votes).all(1)]
    if not len(sound):
        return {"unmeasured": "the network answered with NaN for every still"}
    means = sound @ VOTES
    deviations = np.sqrt(np.maximum(sound @ VOTES**2 - means**2, 0))
    row: Row = {"looks": len(sound), "score": float(means.mean()), "score_min": float(means.min())}
    row |= {"spread": float(deviations.mean())}
    if len(sound) < len(votes):
        row["unmeasured"] = f"the network answered with NaN for {len(votes) - len(sound)} of the stills"
    return row


def _votes(pictures: Sequence[np.ndarray], weights: str, sha256: str | None) -> np.ndarray:
    """(stills, 10) shares of the votes of 1 to 10 that people would give."""
    import torch

    net = network(weights, sha256)
    answers = []
    for start in range(0, len(pictures), BATCH):
        batch = torch.from_numpy(np.stack([_prepared(picture) for picture in pictures[start : start + BATCH]]))
        with torch.inference_mode():
            answers.append(net(batch.to(device())).softmax(1).cpu().numpy())
    return np.concatenate(answers)


def _prepared(picture: np.ndarray) -> np.ndarray:
    """A BGR picture squeezed to a square, as NIMA is trained: (3, 224, 224) float32."""
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)[..., ::-1] / 255
    return ((small - MEAN) / DEVIATION).transpose(2, 0, 1).astype(np.float32)


@lru_cache(maxsize=1)
def network(weights: str, sha256: str | None) -> torch.nn.Module:
    """The network, loaded once a process.

    Raises:
        WeightsError: torchvision or the weights are not there, or they are of another network.
    """
    import torch

    try:
        from torchvision.models import mobilenet_v2
    except ImportError:
        raise WeightsError(f"{NIMA.name}: needs torchvision; run: pip install 'longtake[models]'") from None
    torch.set_num_threads(1)  # a worker has one core
    net = mobilenet_v2(num_classes=len(VOTES))
    load_into(NIMA, net, NIMA.weights(weights, sha256))
    return net.to(device()).eval()
