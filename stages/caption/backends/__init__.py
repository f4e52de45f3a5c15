"""The captioners that ask a model, each behind `stages.caption.protocol.Backend`."""

from __future__ import annotations

from curate.stage import Workspace
from stages.caption.backends.cache import Cached
from stages.caption.backends.openai import OpenAI, OpenAIBackend
from stages.caption.backends.transformers import Transformers, TransformersBackend
from stages.caption.protocol import Backend


def make(settings: OpenAI | Transformers, work: Workspace) -> Backend:
    """The captioner of these settings, whose answers are kept in the dataset. Nothing is connected to or loaded before
    the first question that is not answered yet."""
    asks = OpenAIBackend(settings) if isinstance(settings, OpenAI) else TransformersBackend(settings)
    return Cached(asks, work)
