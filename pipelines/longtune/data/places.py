"""Which latent frames of a take a window holds, so that what it trains is what a stream would meet there.

Latent 0 of a take is that of a single picture and every other of four, made with what was before: a window from the
middle is no take of its own. It keeps its frames' true numbers, and has the take's first frames, the sink, before it.
"""

from __future__ import annotations

import random

from pipelines.longtune.config import CausalConfig


def window_frames(frames: int, span: int, layout: CausalConfig, rng: random.Random) -> tuple[list[int], list[bool]]:
    """Draw a window of whole blocks.

    Args:
        frames: latent frames that the take has.
        span: latent frames of the window, the sink's among them; a multiple of the block.
        layout: block, window and sink.
        rng: draws the window's place; every whole block may be its first.

    Returns:
        The frames' numbers, rising, `span` of them, and which of them may be trained: those that have all in the window
        that they would see in a stream. A window that is too short for that, or a layout that sees all of the past,
        leaves only the take's beginning.
    """
    block = layout.block
    front = -(-layout.sink // block) * block
    # The first block that sees whole window frames lies behind window - block of them, rounded up to blocks.
    before = -(-max(0, layout.window - block) // block) * block
    start = list(range(span)), [True] * span
    if layout.window < 0 or span < front + before + block:
        return start
    # A window right behind the sink has no gap: it is the take's beginning.
    places = range(front, frames - (span - front) + 1, block)
    place = places[rng.randrange(len(places))]
    if place == front:
        return start
    numbers = [*range(front), *range(place, place + span - front)]
    # Near the beginning the sink's frames are those of the window, too.
    return numbers, [number >= place + before for number in numbers]
