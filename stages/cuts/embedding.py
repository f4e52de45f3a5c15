"""Stitching by embedding: shots that an image model sees as one are one take again, where a model is given.

Panda-70M (arXiv:2402.19479) stitches neighbours whose end and start have embeddings at most 0.6 apart. Any image model
that `transformers` reads will do (DINOv2, CLIP, SigLIP); none comes with Longtake.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np


class EmbeddingError(Exception):
    """The image model cannot be used; the message says why and what to do."""


def distance(model: str, before: np.ndarray, after: np.ndarray) -> float:
    """How far apart two pictures' embeddings lie: 0 (the same) to 2.

    Args:
        model: a local folder or a hub's name.
        before, after: (rows, columns, 3) uint8 RGB.

    Raises:
        EmbeddingError: the model cannot be loaded.
    """
    first, second = _embedded(model, (before, after))
    return float(np.linalg.norm(first - second))


def _embedded(model: str, pictures: Iterable[np.ndarray]) -> np.ndarray:
    """(pictures, features) float32, each of length 1."""
    import torch

    processor, network = _loaded(model)
    inputs = processor(images=list(pictures), return_tensors="pt")
    with torch.inference_mode():
        out = network(**inputs)
    # CLIP's and SigLIP's picture towers and DINOv2 pool; what does not is averaged over its patches.
    pooled = out.pooler_output if getattr(out, "pooler_output", None) is not None else out.last_hidden_state.mean(1)
    features: np.ndarray = torch.nn.functional.normalize(pooled.flatten(1).float(), dim=1).numpy()
    return features


@lru_cache(maxsize=1)
def _loaded(model: str) -> tuple[Any, Any]:
    """The model's image processor and its picture tower. No pickled weights, no code of the model's own."""
    try:
        from transformers import AutoImageProcessor, AutoModel
    except ImportError:
        raise EmbeddingError("cuts.embedding needs transformers; pip install 'longtake[train]'") from None
    try:
        processor = AutoImageProcessor.from_pretrained(model, trust_remote_code=False)
        network = AutoModel.from_pretrained(model, trust_remote_code=False, use_safetensors=True)
    except (OSError, ValueError, KeyError) as error:
        raise EmbeddingError(f"cuts.embedding: {model}: no image model that can be loaded ({error})") from None
    return processor, getattr(network, "vision_model", network).eval()
