"""Image embeddings of clips by an open_clip network: what the picture means, for dedup, balancing and aesthetics.

No package ships such weights, and there is no honest substitute, so without weights the vectors are null.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.models import HUB, Model, WeightsError, device
from curate.stage import Row, RowStage, Workspace
from schemas import Table, embeddings
from stages.stills import opened

_REPOSITORY = "timm/vit_large_patch14_clip_224.openai"
OPEN_CLIP = Model("open_clip", "MIT", repository=(_REPOSITORY, "open_clip_model.safetensors"))
"""OpenAI's CLIP ViT-L/14 (Radford et al., arXiv:2103.00020), the one that the LAION aesthetic head was trained on."""
CONFIG = "open_clip_config.json"
_CONFIG = Model("open_clip", "MIT", repository=(_REPOSITORY, CONFIG))

BATCH = 32
"""Stills in one pass of the network: ViT-L/14 takes 1 GB of memory for them."""


class Embed(RowStage):
    """Embeds a clip's stills. About 0.3 s a still for ViT-L/14 on one core, 5 ms on a GPU."""

    name: ClassVar[str] = "embed"
    writes: ClassVar[Table] = embeddings.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clips": ("clip_id", "source_id", "start_s", "end_s", "long_enough"),
        "stills": ("t_s", "jpeg"),
    }
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {"screening": ("clip_id", "source_id", "kept")}

    weights: str | None = None
    """Where the network is: none (every vector is null), `hub` (OpenAI's ViT-L/14 from Hugging Face, 1.7 GB), or the
    path of a folder as open_clip saves it: `open_clip_config.json` with a .safetensors file beside it."""
    weights_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{8,64}$")
    """What the .safetensors file must hash to, its first digits at least; none takes any."""
    stills: int = Field(8, ge=1, le=1024)
    """At most as many stills of a clip are looked at, spread evenly over it: what a take shows changes slowly."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        clips = inputs["clips"].to_pylist()
        kept = _kept(clips, inputs.get("screening"))
        times = inputs["stills"].column("t_s").to_numpy()
        jpegs = inputs["stills"].column("jpeg")
        for clip in clips:
            row: Row = {"clip_id": clip["clip_id"], "source_id": clip["source_id"]}
            if clip["clip_id"] not in kept:
                yield row | {"unmeasured": f"not looked at: {_WHY['screening' in inputs]}"}
            elif self.weights is None:
                yield row | {"unmeasured": "no weights of an open_clip network are given; set embed.weights"}
            else:
                first, end = np.searchsorted(times, [clip["start_s"] - 1e-9, clip["end_s"] - 1e-9])
                chosen = _spread(int(first), int(end), self.stills)
                row |= {"model": network(self.weights, self.weights_sha256).name}
                if not chosen:
                    yield row | {"unmeasured": "no still lies inside the clip"}
                    continue
                row |= {"stills_s": [float(times[n]) for n in chosen]}
                yield row | self._embedded([opened(jpegs[n].as_py()) for n in chosen])

    def _embedded(self, pictures: Sequence[np.ndarray]) -> Row:
        vectors = network(self.weights or HUB, self.weights_sha256).embed(pictures)
        sound = vectors[np.isfinite(vectors).all(1)]
        if not len(sound):
            return {"unmeasured": "the network answered with NaN for every still"}
        mean = sound.mean(0)
        length = float(np.linalg.norm(mean))
        if length < 1e-6:
            return {"vectors": sound.tolist(), "unmeasured": "the stills' vectors cancel each other out"}
        row: Row = {"vectors": sound.tolist(), "vector": (mean / length).tolist()}
        if len(sound) < len(vectors):
            row["unmeasured"] = f"the network answered with NaN for {len(vectors) - len(sound)} of the stills"
        return row


_WHY = {True: "screening turned the clip down", False: "shorter than a long take"}


def _kept(clips: Sequence[Row], screening: pa.Table | None) -> set[str]:
    """The clips worth a network: those that screening keeps where it ran, else those long enough."""
    if screening is None:
        return {clip["clip_id"] for clip in clips if clip["long_enough"]}
    return {row["clip_id"] for row in screening.to_pylist() if row["kept"]}


def _spread(first: int, end: int, most: int) -> list[int]:
    """At most `most` of the numbers first..end-1, each in the middle of an equal share."""
    count = min(most, end - first)
    return [first + int((n + 0.5) * (end - first) / count) for n in range(count)]


class Network:
    """An open_clip network that is ready to look."""

    def __init__(self, model: Any, name: str, folder: Path) -> None:
        from open_clip.transform import PreprocessCfg, image_transform_v2

        self.name = name
        self._folder = folder
        self._model = model
        self._prepare = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Unit-length vectors (pictures, dimensions) float32 of BGR pictures (rows, columns, 3)."""
        import torch
        from PIL import Image

        parts = []
        for start in range(0, len(pictures), BATCH):
            batch = [
                self._prepare(Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)))
                for picture in pictures[start : start + BATCH]
            ]
            with torch.inference_mode():
                found = self._model.encode_image(torch.stack(batch).to(device()), normalize=True)
            parts.append(found.float().cpu().numpy())
        return np.concatenate(parts)

    def read(self, texts: Sequence[str]) -> np.ndarray:
        """Unit-length vectors (texts, dimensions) float32 of texts, cut at the network's context (CLIP: 77 tokens)."""
        import open_clip
        import torch

        tokens = open_clip.get_tokenizer(f"local-dir:{self._folder}")(list(texts))
        with torch.inference_mode():
            return self._model.encode_text(tokens.to(device()), normalize=True).float().cpu().numpy()


@lru_cache(maxsize=1)
def network(weights: str, sha256: str | None) -> Network:
    """The network, loaded once a process.

    Raises:
        WeightsError: it is not there, cannot be read, or its weights are others than its configuration or checksum say.
    """
    try:
        import open_clip
        import torch
    except ImportError:
        raise WeightsError("open_clip: its package is not installed; run: pip install 'longtake[models]'") from None
    torch.set_num_threads(1)  # a worker has one core
    file = _file(weights, sha256)
    try:
        model = open_clip.create_model(
            f"local-dir:{file.parent}", device=device(), pretrained_text=False, require_pretrained=True
        )
    except Exception as error:  # open_clip and torch raise errors of many kinds
        first = " ".join(str(error).split())[:300]
        raise WeightsError(f"open_clip: the network in {file.parent} cannot be loaded: {first}") from error
    with open(file, "rb") as opened_file:
        digest = hashlib.file_digest(opened_file, "sha256").hexdigest()
    return Network(model.eval(), f"open_clip:{digest[:12]}", file.parent)


def _file(weights: str, sha256: str | None) -> Path:
    """The .safetensors file, with the network's configuration beside it.

    open_clip itself prefers .safetensors to files that would be unpickled, so the folder must have one.
    """
    if weights == HUB:
        _CONFIG.weights(HUB)
        return OPEN_CLIP.weights(HUB)
    folder = OPEN_CLIP.weights(weights)
    if folder.is_file():
        folder = folder.parent
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1 or not (folder / CONFIG).is_file():
        raise WeightsError(
            f"open_clip: {folder} must hold {CONFIG} and one .safetensors file; "
            f"it holds {', '.join(sorted(path.name for path in folder.iterdir())) or 'nothing'}"
        )
    return OPEN_CLIP.weights(str(files[0]), sha256)
