"""Picture quality: `picture` measures sampled frames of the shared decode, `quality` sums a clip up."""

from stages.quality.picture import Picture
from stages.quality.score import Quality

__all__ = ["Picture", "Quality"]
