"""Aesthetics of a clip: the LAION head on the CLIP embeddings that `embed` has already made.

The head is one linear layer fitted to people's votes of 1 to 10 (LAION, aesthetic-predictor; the same idea as Schuhmann
et al., arXiv:2210.08402). Without its weights the score is null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.models import Model, WeightsError, state_dict
from curate.stage import Row, RowStage, Workspace
from schemas import Table, aesthetics

if TYPE_CHECKING:
    import torch

HEAD = Model(
    "laion_aesthetic",
    "MIT",
    url="https://github.com/LAION-AI/aesthetic-predictor/raw/main/sa_0_4_vit_l_14_linear.pth",
)
"""For unit-length embeddings of OpenAI's CLIP ViT-L/14, 768 numbers. Its publisher gives no checksum."""


class Aesthetics(RowStage):
    """Applies the head to a clip's embeddings. Costs next to nothing; the embeddings are what is dear."""

    name: ClassVar[str] = "aesthetics"
    writes: ClassVar[Table] = aesthetics.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clips": ("clip_id", "source_id"),
        "embeddings": ("clip_id", "model", "vectors", "unmeasured"),
    }

    weights: str | None = None
    """The head: none (every score is null), `hub` (LAION's, from GitHub), or the path of a .safetensors or PyTorch
    file with a linear layer `weight` (1, numbers of the embedding) and `bias` (1)."""
    weights_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{8,64}$")
    """What a file of your own must hash to, its first digits at least; none takes any."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        embedded = {row["clip_id"]: row for row in inputs["embeddings"].to_pylist()}
        for clip in inputs["clips"].to_pylist():
            row: Row = {"clip_id": clip["clip_id"], "source_id": clip["source_id"], "looks": 0}
            found = embedded.get(clip["clip_id"])
            if self.weights is None:
                yield row | {"unmeasured": "no weights of the aesthetic head are given; set aesthetics.weights"}
            elif found is None or not found["vectors"]:
                yield row | {"unmeasured": found["unmeasured"] if found else "not looked at: embedding failed"}
            else:
                row |= {"model": f"{HEAD.name} on {found['model']}"}
                yield row | self._score(np.array(found["vectors"], np.float32), self.weights)

    def _score(self, vectors: np.ndarray, weights: str) -> Row:
        import torch

        layer = head(weights, self.weights_sha256)
        if layer.in_features != vectors.shape[1]:
            raise WeightsError(
                f"{HEAD.name}: {weights} is for embeddings of {layer.in_features} numbers, and the clip's have "
                f"{vectors.shape[1]}; give embed and aesthetics weights that belong together"
            )
        with torch.inference_mode():
            scores = layer(torch.from_numpy(vectors))[:, 0].numpy()
        sound = scores[np.isfinite(scores)]
        if not len(sound):
            return {"unmeasured": "the head answered with NaN for every still"}
        row: Row = {"looks": len(sound), "score": float(sound.mean()), "score_min": float(sound.min())}
        if len(sound) < len(scores):
            row["unmeasured"] = f"the head answered with NaN for {len(scores) - len(sound)} of the stills"
        return row


@lru_cache(maxsize=1)
def head(weights: str, sha256: str | None) -> torch.nn.Linear:
    """The linear layer, loaded once a process.

    Raises:
        WeightsError: it is not there, is another file, or no such layer.
    """
    import torch

    path = HEAD.weights(weights, sha256)
    tensors = state_dict(HEAD, path)
    shape = tuple(tensors["weight"].shape) if "weight" in tensors else None
    if set(tensors) != {"weight", "bias"} or shape is None or len(shape) != 2 or shape[0] != 1:
        found = {name: tuple(t.shape) for name, t in list(tensors.items())[:5]}
        raise WeightsError(
            f"{HEAD.name}: the weights at {path} are of another model: wanted a weight (1, n) and a bias, found {found}"
        )
    layer = torch.nn.Linear(shape[1], 1)
    layer.load_state_dict(tensors)
    return layer.eval()
