"""A checkpoint and a prompt to a video file: stream latents, decode them as they come, write the frames at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipelines.longtune.config import FRAMES_PER_LATENT, Config
from pipelines.longtune.stream import CausalStream, stream_blocks
from pipelines.longtune.vae import StreamingDecoder, to_bytes
from pipelines.longtune.video import VideoWriter
from pipelines.longtune.weights import Generator


@torch.no_grad()
def generate_video(
    generator: Generator,
    config: Config,
    prompt: str,
    seconds: float,
    seed: int,
    path: Path,
    on_frames: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Write `seconds` of video to `path`, at the frame rate and size the generator was trained with.

    Args:
        generator: the networks, on one device.
        config: the run they come from.
        prompt: what to show.
        seconds: length; rounded to whole frames, at least one.
        seed: of the noise.
        path: an .mp4.
        on_frames: called with (frames written, frames in all) after each block.

    Returns:
        What was made: path, frames, seconds, fps, took_s, cache_bytes.
    """
    started = time.perf_counter()
    data, layout = config.data, config.causal
    transformer, vae = generator.transformer.eval(), generator.vae
    total = max(1, round(seconds * data.fps))
    text = generator.embedder(config.model.text_tokens)([prompt])
    stream = CausalStream(transformer, text, layout, span=data.latents)
    side = vae.spatial_compression_ratio
    shape = (1, transformer.config.in_channels, layout.block, data.height // side, data.width // side)
    noise = torch.Generator().manual_seed(seed)
    decoder = StreamingDecoder(vae)
    with VideoWriter(path, data.fps, data.width, data.height) as writer:
        for block in stream_blocks(stream, shape, config.sample.steps, config.train.flow_shift, noise):
            # The last block is decoded only as far as it is written (the first latent is a single frame).
            needed = -(-(total - writer.frames) // FRAMES_PER_LATENT) + 1
            pixels = to_bytes(decoder.decode(block[:, :, :needed]))[0].permute(1, 2, 3, 0).cpu().numpy()
            for image in pixels[: total - writer.frames]:
                writer.write(image)
            on_frames(writer.frames, total)
            if writer.frames == total:
                break
    return {
        "path": str(path),
        "frames": total,
        "fps": data.fps,
        "seconds": round(total / data.fps, 3),
        "took_s": round(time.perf_counter() - started, 2),
        "cache_bytes": stream.cache.nbytes,
    }
