"""Seconds per generated block at frame 600 over those at frame 24: with a sink and window, and with full attention.

Two streams of one toy generator (random weights: arithmetic does not depend on them) stand at the two places, and
generate the same block over and over in turn, so that a busy machine slows both. A block is its denoising steps and its
commit; decoding pixels, which knows no past, is left out. Aim: at most 1.15 with a window. The window that is full at
frame 24 (6 and 1, as the bundled `tiny`) is held to it; LongLive's 12 and 3 is still filling there, and printed beside.
"""

from __future__ import annotations

import json
import statistics
import time
from itertools import islice
from typing import Annotated

import torch
import typer

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.config_data import FRAMES_PER_LATENT
from pipelines.longtune.model.wan_causal import CausalWanTransformer3DModel
from pipelines.longtune.stream import CausalStream, stream_blocks

LAYOUTS = {
    "window 6, sink 1": CausalConfig(block=3, window=6, sink=1),
    "window 12, sink 3": CausalConfig(block=3, window=12, sink=3),
    "full attention": CausalConfig(block=3, window=-1, sink=0),
}
AIM = 1.15
SHAPE = (1, 4, 3, 16, 16)  # 64 tokens a frame: attention, not the calls, takes the time
STEPS = 4


def at_frame(model: CausalWanTransformer3DModel, layout: CausalConfig, frame: int) -> CausalStream:
    """A stream that has committed the blocks up to a pixel frame."""
    stream = CausalStream(model, torch.randn(1, 16, 16), layout)
    while stream.frame * FRAMES_PER_LATENT < frame:
        stream.commit(torch.randn(SHAPE))
    return stream


def timed(stream: CausalStream) -> float:
    """Seconds of the next block; the stream stays where it is."""
    place = stream.cache, stream.kept, stream.frame
    started = time.perf_counter()
    next(islice(stream_blocks(stream, SHAPE, STEPS, 5.0), 1))
    took = time.perf_counter() - started
    stream.cache, stream.kept, stream.frame = place
    return took


def main(
    rounds: Annotated[int, typer.Option(help="Blocks timed at each place.")] = 40,
    early: Annotated[int, typer.Option(help="Pixel frame of the first place.")] = 24,
    late: Annotated[int, typer.Option(help="Pixel frame of the second.")] = 600,
) -> None:
    """Print a JSON line for each layout."""
    torch.manual_seed(0)
    size = {"num_attention_heads": 4, "attention_head_dim": 24, "ffn_dim": 192, "num_layers": 3}
    model = CausalWanTransformer3DModel(**size, in_channels=4, out_channels=4, text_dim=16).eval()
    for name, layout in LAYOUTS.items():
        streams = [at_frame(model, layout, frame) for frame in (early, late)]
        for stream in streams:
            timed(stream)  # the prompt's keys are made once
        first, second = zip(*([timed(stream) for stream in streams] for _ in range(rounds)), strict=True)
        early_s, late_s = statistics.median(first), statistics.median(second)
        facts = {"layout": name, f"frame_{early}_s": round(early_s, 4), f"frame_{late}_s": round(late_s, 4)}
        cache = [stream.cache.nbytes for stream in streams]
        print(json.dumps({**facts, "ratio": round(late_s / early_s, 3), "cache_bytes": cache, "aim": AIM}), flush=True)


if __name__ == "__main__":
    typer.run(main)
